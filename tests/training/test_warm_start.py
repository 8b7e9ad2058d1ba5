"""Starting from the weights of another model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import build_model, load_weights, save_weights
from cpixelcnn.training.plan import Request, make_plan
from cpixelcnn.training.state import create_state
from cpixelcnn.training.warm_start import initial_weights

Fit = Callable[..., Any]
State = Callable[[Path], dict[str, Any]]


def test_a_new_run_starts_from_the_moving_average(
    source: Path, config: Callable[..., RunConfig], train_set: ImageSet
) -> None:
    ema = load_weights(source / "best" / "ema.safetensors")[1]
    raw = load_weights(source / "best" / "model.safetensors")[1]
    assert not torch.equal(ema["out.v"], raw["out.v"])
    cases = [(source, ema), (source / "last", ema), (source / "best" / "model.safetensors", raw)]
    for reference, expected in cases:
        found = initial_weights(str(reference), config().model)
        train_state = create_state(config(), train_set, torch.device("cpu"), weights=found)
        for model in (train_state.model, train_state.ema.model):
            state = model.state_dict()
            assert state.keys() == expected.keys()
            assert all(torch.equal(state[name], expected[name]) for name in expected)
        assert train_state.progress.images_seen == 0
        assert train_state.optimiser.state_dict()["state"] == {}


def test_a_training_from_it_and_its_resumption(
    source: Path, fit: Fit, state: State, differences: Callable[..., list[str]], tmp_path: Path
) -> None:
    options = {"epochs": 2, "init_from": str(source), "lr": 1e-9}
    first = fit(tmp_path / "whole", **options).steps[0]
    assert (first.step, first.images_seen) == (1, 8)
    ema = load_weights(source / "best" / "ema.safetensors")[1]
    found = state(tmp_path / "whole")
    assert all(torch.allclose(found[f"model.{name}"], ema[name], atol=1e-5) for name in ema)
    fit(tmp_path / "parts", stop_after_step=4, **options)
    fit(tmp_path / "parts", resume=True, **{**options, "init_from": "gone by now"})  # the checkpoint is enough
    assert differences(found, state(tmp_path / "parts")) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nr_logistic_mix", 3),
        ("early_fusion", "template"),
        ("film", "mlp"),
        ("class_embedding_dim", 5),
    ],
)
def test_another_architecture_is_refused(source: Path, fit: Fit, tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"`{field}` {value} contradicts `init_from` .*run, which has"):
        fit(tmp_path / "run", init_from=str(source), **{field: value})
    with pytest.raises(ConfigError, match=f"`{field}` {value} contradicts"):
        make_plan(Request(model={field: value}, train={"init_from": str(source)}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_plan_takes_the_architecture_from_the_source(source: Path, tmp_path: Path) -> None:
    plan = make_plan(Request(train={"init_from": str(source)}), out=tmp_path / "run")
    model = plan.config.model
    assert (model.nr_filters, model.nr_logistic_mix, model.class_embedding_dim) == (4, 2, 4)
    assert (model.dropout, plan.config.data.image_size) == (0.5, 8)
    assert plan.config.train.init_from == str(source)
    request = Request(model={"dropout": 0.1}, data={"image_size": 9}, train={"init_from": str(source)})
    other = make_plan(request, out=tmp_path / "run").config
    assert (other.model.dropout, other.data.image_size) == (0.1, 9)
    with pytest.raises(ConfigError, match="`nr_logistic_mix` 5 contradicts"):
        make_plan(request.with_preset("tiny"), out=tmp_path / "run")
    with pytest.raises(ConfigError, match="`nr_filters` 3 is less than the 4 of `init_from`"):
        make_plan(Request(model={"nr_filters": 3}, train={"init_from": str(source)}), out=tmp_path / "run")
    larger = make_plan(Request(model={"nr_filters": 6}, train={"init_from": str(source)}), out=tmp_path / "run")
    assert (larger.config.model.nr_filters, larger.config.model.nr_logistic_mix) == (6, 2)


def test_it_must_stay_on_resume(source: Path, fit: Fit, tmp_path: Path) -> None:
    fit(tmp_path / "run", epochs=1, init_from=str(source))
    make_plan(Request(train={"init_from": str(source)}), resume=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="`init_from` elsewhere contradicts"):
        make_plan(Request(train={"init_from": "elsewhere"}), resume=str(tmp_path / "run"))


def test_a_larger_network_starts_where_the_source_is(
    source: Path, config: Callable[..., RunConfig], make_images: Callable[..., ImageSet]
) -> None:
    """What it makes of the images is the source's to rounding; at another size it is the same network."""
    images = make_images(3)
    small, state = load_weights(source / "best" / "ema.safetensors")
    model = build_model(small, state, source)
    wanted = dataclasses.replace(config().model, nr_filters=6, nr_resnets=2)
    grown = PixelCNN(wanted).eval()
    grown.load_state_dict(initial_weights(str(source), wanted))
    expected = model.log_prob(images.images, images.labels)
    torch.testing.assert_close(grown.log_prob(images.images, images.labels), expected, rtol=1e-5, atol=0)
    at_half = initial_weights(str(source), dataclasses.replace(config().model, image_height=4, image_width=4))
    assert all(torch.equal(at_half[name], tensor) for name, tensor in state.items())


def test_a_training_that_is_told_orientations(
    source: Path, fit: Fit, state: State, differences: Callable[..., list[str]], tmp_path: Path
) -> None:
    """From a source that knows upright images only; resumed, it is the same training."""
    options = {"epochs": 2, "init_from": str(source), "nr_orientations": 4}
    fit(tmp_path / "whole", **options)
    found = state(tmp_path / "whole")
    embedding = found["model.orientation_embedding.weight"]
    assert torch.equal(embedding[0], torch.zeros(4))
    assert (embedding[1:] != 0).all()
    fit(tmp_path / "parts", stop_after_step=4, **options)
    fit(tmp_path / "parts", resume=True, **options)
    assert differences(found, state(tmp_path / "parts")) == []
    plan = make_plan(Request(train={"init_from": str(tmp_path / "whole")}), out=tmp_path / "next")
    assert plan.config.model.nr_orientations == 4


def test_images_of_another_number_of_channels_are_refused(source: Path, config: Callable[..., RunConfig]) -> None:
    with pytest.raises(ConfigError, match=r"images have 1 channels, but .* made for 3; pass `channels` 3"):
        initial_weights(str(source), dataclasses.replace(config().model, image_channels=1))


@pytest.mark.parametrize("fusion", ["vector", "template"])
def test_classes_are_matched_by_name(make_model: Callable[..., PixelCNN], tmp_path: Path, fusion: str) -> None:
    model = make_model(early_fusion=fusion)
    config = RunConfig.from_json({"format_version": 1, "model": model.config.to_json()})
    save_weights(tmp_path / "m.safetensors", model.state_dict(), config)
    wanted = dataclasses.replace(model.config, classes=("cat", "ant", "bee"))
    other = PixelCNN(wanted).eval()
    other.load_state_dict(initial_weights(str(tmp_path / "m.safetensors"), wanted))
    images = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(other.log_prob(images, torch.tensor([0, 1, 2])), model.log_prob(images, torch.tensor([2, 0, 1])))
    for classes in (("cat", "ant", "dog"), ("ant", "bee")):
        with pytest.raises(ConfigError, match="ant, bee, cat; choose a source of the same classes"):
            initial_weights(str(tmp_path / "m.safetensors"), dataclasses.replace(wanted, classes=classes))


def test_nothing_of_that_name(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="`init_from`: there is no model 'absent'"):
        fit(tmp_path / "run", init_from="absent")
    with pytest.raises(CheckpointError, match="`init_from`: there is no model 'absent'"):
        make_plan(Request(train={"init_from": "absent"}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
