"""Weight files: a file alone is a model, and what is not one is refused in one sentence."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cpixelcnn.config import FORMAT_VERSION, DataConfig, RunConfig, TrainConfig
from cpixelcnn.errors import CheckpointError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import build_model, load_weights, save_weights


def config_of(model: PixelCNN) -> RunConfig:
    return RunConfig(model.config, DataConfig(split_seed=7), TrainConfig(lr=2e-3))


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model(class_counts=(5, 6, 7))


@pytest.fixture
def path(model: PixelCNN, tmp_path: Path) -> Path:
    path = tmp_path / "weights with [brackets] and ü.safetensors"
    save_weights(path, model.state_dict(), config_of(model))
    return path


def refusal(path: Path) -> str:
    """The message with which a file is refused: one line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        build_model(*load_weights(path), source=path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("early_fusion", "film"), [("vector", "linear"), ("template", "mlp"), ("none", "linear"), ("none", "none")]
)
def test_round_trip(
    early_fusion: str,
    film: str,
    tmp_path: Path,
    make_model: Callable[..., PixelCNN],
    make_images: Callable[..., Tensor],
) -> None:
    model = make_model(early_fusion=early_fusion, film=film)
    save_weights(tmp_path / "w", model.state_dict(), config_of(model))
    config, state = load_weights(tmp_path / "w")
    assert config == config_of(model)
    again = build_model(config, state, tmp_path / "w")
    assert not again.training
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    images, labels = make_images(model, 3), torch.arange(3)
    with torch.no_grad():
        assert torch.equal(again.log_prob(images, labels), model.log_prob(images, labels))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_names_of_wrapped_models_become_plain(prefix: str, model: PixelCNN, tmp_path: Path) -> None:
    """Whether the wrapper's names were written by this program or by another (strictly: no weight stays random)."""
    wrapped = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    save_weights(tmp_path / "saved", wrapped, config_of(model))
    assert set(load_file(tmp_path / "saved")) == set(model.state_dict())
    metadata = {"cpixelcnn_config": json.dumps(config_of(model).to_json())}
    save_file(wrapped, tmp_path / "foreign", metadata=metadata)
    for path in (tmp_path / "saved", tmp_path / "foreign"):
        again = build_model(*load_weights(path), source=path)
        for name, tensor in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], tensor)


def test_weights_in_another_layout_or_precision(model: PixelCNN, tmp_path: Path) -> None:
    state = {
        n: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in model.state_dict().items()
    }
    save_weights(tmp_path / "layout", state, config_of(model))
    assert torch.equal(load_weights(tmp_path / "layout")[1]["u_in.v"], model.state_dict()["u_in.v"])
    save_weights(tmp_path / "bf16", {n: t.bfloat16() for n, t in state.items()}, config_of(model))
    again = build_model(*load_weights(tmp_path / "bf16"), source=tmp_path / "bf16")
    assert again.u_in.v.dtype == torch.float32
    torch.testing.assert_close(again.u_in.v, model.u_in.v, rtol=1e-2, atol=0)


def test_building_a_model_leaves_the_random_state_alone(path: Path) -> None:
    config, state = load_weights(path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_model(config, state, path)
    assert torch.equal(torch.rand(3), expected)


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nothing.safetensors")


def test_directory(tmp_path: Path) -> None:
    refusal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html>\n<html><body>404: not found</body></html>\n" * 20,
        b"nothing but text\n",
        b"\x80\x04\x95cos\nsystem\n(S'false'\ntR.",
        b"PK\x03\x04" + b"\x00" * 200,
        b"\xff" * 64,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    ],
    ids=["html", "text", "pickle", "zip", "ff", "lfs pointer"],
)
def test_files_that_are_no_weights(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    assert "not a readable safetensors file" in refusal(path)


@pytest.mark.parametrize("cut", ["empty", "one byte", "header", "half", "one short", "one too many", "two too many"])
def test_damaged_files(cut: str, path: Path) -> None:
    whole = path.read_bytes()
    half = len(whole) // 2
    damaged = {
        "empty": b"",
        "one byte": whole[:1],
        "header": whole[:100],
        "half": whole[:half],
        "one short": whole[:-1],
        "one too many": whole + b"\0",
        "two too many": whole + b"\0\0",
    }
    path.write_bytes(damaged[cut])
    assert "not a readable safetensors file" in refusal(path)


def test_weights_of_another_program(path: Path) -> None:
    save_file({"layer.weight": torch.zeros(2, 2)}, path)
    assert "some other program" in refusal(path)


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The same weights with a configuration that was changed."""
    config, state = load_weights(path)
    document = config.to_json()
    save_file(state, path, metadata={"cpixelcnn_config": json.dumps(change(document) or document)})


def test_newer_format(path: Path) -> None:
    rewrite(path, lambda document: document.update(format_version=FORMAT_VERSION + 1))
    message = refusal(path)
    assert f"format {FORMAT_VERSION + 1}" in message
    assert "upgrade" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("format_version") and None,
        lambda document: document["model"].update(shiny=1),
        lambda document: document["model"].update(nr_filters="many"),
        lambda document: document["model"].update(nr_resnets=0),
        lambda document: document["model"].update(film="sometimes"),
        lambda document: document.update(model=[1, 2]),
        lambda document: [document],
        lambda document: "text",
    ],
)
def test_configurations_that_cannot_be_used(change: Callable[[dict[str, Any]], object], path: Path) -> None:
    rewrite(path, change)
    refusal(path)


BOMBS: list[dict[str, Any]] = [
    {"nr_resnets": 10**6},
    {"nr_resnets": 50},
    {"nr_filters": 10**6},
    {"nr_filters": 4096},
    {"nr_filters": True},
    {"nr_filters": 2**70},
    {"nr_filters": 10**400},
    {"nr_logistic_mix": 1000},
    {"class_embedding_dim": 2**63},
    {"early_fusion": "template", "image_height": 4096, "image_width": 4096},
    {"image_height": 2**40},
    {"classes": [1, 2, 3]},
    {"classes": ["a"] * 100_000},
    {"classes": ["a"] * 200_000},
    {"classes": "abc"},
    {"class_counts": ["1"]},
    {"dropout": "0"},
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("change", BOMBS, ids=lambda change: str(change)[:50])
def test_no_header_makes_room_for_a_network_that_its_file_does_not_hold(path: Path, change: dict[str, Any]) -> None:
    """Room is made for weights once their names and shapes are those of the network, which costs no memory to know."""
    rewrite(path, lambda document: document["model"].update(change))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool])
def test_weights_that_are_no_numbers_of_a_network(path: Path, model: PixelCNN, kind: torch.dtype) -> None:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_weights(path, state | {"out.b": state["out.b"].to(kind)}, config_of(model))
    assert "type" in refusal(path)


@pytest.mark.timeout(20)
def test_pipes_and_devices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        assert "not a file" in refusal(path)


def test_two_names_for_one_weight(path: Path, model: PixelCNN) -> None:
    state = dict(model.state_dict())
    metadata = {"cpixelcnn_config": json.dumps(config_of(model).to_json())}
    save_file(state | {"module.out.b": state["out.b"].clone()}, path, metadata=metadata)
    refusal(path)


def test_configuration_that_is_not_json(path: Path) -> None:
    save_file(load_weights(path)[1], path, metadata={"cpixelcnn_config": "{'model': "})
    refusal(path)


@pytest.mark.parametrize("field", ["nr_filters", "nr_logistic_mix", "image_channels", "class_embedding_dim"])
def test_weights_that_do_not_fit_their_configuration(field: str, path: Path) -> None:
    rewrite(path, lambda document: document["model"].update({field: 1}))
    assert "does not fit its own configuration" in refusal(path)


def test_missing_and_surplus_weights(path: Path, model: PixelCNN) -> None:
    state = dict(model.state_dict())
    del state["out.g"]
    save_weights(path, state, config_of(model))
    assert "out.g" in refusal(path)
    save_weights(path, model.state_dict() | {"extra.bias": torch.zeros(1)}, config_of(model))
    assert "extra.bias" in refusal(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(value: float, path: Path, model: PixelCNN) -> None:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["out.b"][-1] = value
    save_weights(path, state, config_of(model))
    assert "not finite" in refusal(path)


def test_a_model_saves_itself_and_is_loaded(make_model: Callable[..., PixelCNN], tmp_path: Path) -> None:
    model = make_model()
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = PixelCNN.load(path)
    assert loaded.config == model.config and not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    assert load_weights(path)[0].data.dataset == "arrays", "it claims no data set"
    with pytest.raises(CheckpointError, match="does not exist"):
        PixelCNN.load(tmp_path / "absent")
