"""Which weight file a `--model` argument means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.errors import CheckpointError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import load_weights, save_weights
from cpixelcnn.runs import models
from cpixelcnn.runs.layout import checkpoint_name, checkpoint_paths
from cpixelcnn.runs.models import find_model, load, newest_run
from cpixelcnn.storage import file_digest, write_json

MODEL = ModelConfig(nr_filters=4, nr_logistic_mix=2, image_height=8, image_width=8, classes=("a", "b"))
CONFIG = RunConfig(MODEL, DataConfig(), TrainConfig())


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One shipped model, called tiny, whatever the package holds."""
    path = tmp_path / "package" / "tiny.safetensors"
    path.parent.mkdir()
    save_weights(path, state(0), CONFIG)
    monkeypatch.setattr(models, "shipped_models", lambda: {"tiny": path})
    return path


def state(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(PixelCNN(MODEL).state_dict())


def make_checkpoint(run: Path, step: int, *, finished: bool = True, ema: bool = True) -> Path:
    path = run / "checkpoints" / checkpoint_name(step)
    path.mkdir(parents=True)
    names = ["model.safetensors", *(["ema.safetensors"] if ema else [])]
    for name in names:
        save_weights(path / name, state(step), CONFIG)
    manifest: dict[str, Any] = {"manifest_version": 1, "step": step, "finished": finished}
    write_json(path / "manifest.json", {**manifest, "files": {name: file_digest(path / name) for name in names}})
    for link in ("last", "best"):
        (run / link).unlink(missing_ok=True)
        (run / link).symlink_to(f"checkpoints/{path.name}")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three checkpoints, of which the second is the best."""
    path = tmp_path / "somewhere" / "run"
    for step in (1, 2, 3):
        make_checkpoint(path, step)
    (path / "best").unlink()
    (path / "best").symlink_to(f"checkpoints/{checkpoint_name(2)}")
    return path


def damage(checkpoint: Path) -> None:
    for path in checkpoint.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])


def test_a_run_means_its_best_checkpoint(run: Path) -> None:
    found = find_model(run)
    assert found.path == run / "checkpoints" / checkpoint_name(2) / "ema.safetensors"
    assert found.warnings == ()
    assert "step-00000002" in found.description
    assert "EMA" in found.description
    assert find_model(run, ema=False).path.name == "model.safetensors"


def test_a_checkpoint_directory_means_itself(run: Path) -> None:
    for name in ("checkpoints/step-00000001", "last", "best"):
        assert find_model(run / name).path == run / name / "ema.safetensors"
    lone = make_checkpoint(run.parent / "other", 7, ema=False)
    assert find_model(lone).path == lone / "model.safetensors"


def test_a_weight_file_means_itself(run: Path, tmp_path: Path) -> None:
    copied = shutil.copy(run / "last" / "model.safetensors", tmp_path / "copied.safetensors")
    assert find_model(copied).path == Path(copied)
    assert find_model(run / "last" / "model.safetensors").path == run / "last" / "model.safetensors"


def test_the_name_of_a_shipped_model(shipped: Path, tmp_path: Path) -> None:
    found = find_model("tiny")
    assert found.path == shipped
    assert "shipped model 'tiny'" in found.description
    (tmp_path / "tiny").mkdir()  # a folder that is no model does not hide it
    assert find_model("tiny").path == shipped


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(CheckpointError, match=r"no model 'tinny'; did you mean 'tiny'\?"):
        find_model("tinny")
    with pytest.raises(CheckpointError, match=r"no model 'runs/zzz'; there are: tiny"):
        find_model("runs/zzz")


def test_a_directory_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(CheckpointError, match="photos is neither a run nor a checkpoint directory"):
        find_model("photos")
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="empty holds no usable checkpoint"):
        find_model("empty")


def test_without_a_name_the_newest_finished_run(shipped: Path) -> None:
    assert find_model().path == shipped
    assert "no finished run under runs/" in find_model().description
    for age, (name, finished) in enumerate([("new", True), ("old", True), ("newest", False)]):
        checkpoint = make_checkpoint(Path("runs") / name, 5, finished=finished)
        time = {"old": 1_000_000, "new": 2_000_000, "newest": 3_000_000}[name] + age
        os.utime(checkpoint / "manifest.json", (time, time))
    assert find_model().path.resolve() == Path("runs/new/checkpoints/step-00000005/ema.safetensors").resolve()
    assert "newest finished run" in find_model().description
    assert newest_run(finished=True) == Path("runs/new")
    assert newest_run() == Path("runs/newest")


def test_no_model_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "shipped_models", dict)
    with pytest.raises(CheckpointError, match="train one, or pass --model"):
        find_model()
    assert newest_run() is None


def test_a_damaged_best_falls_back_to_the_last_and_is_named(run: Path) -> None:
    damage(run / "best")
    found = find_model(run)
    assert found.path.parent.name == checkpoint_name(3)
    assert len(found.warnings) == 1
    assert "step-00000002/ema.safetensors differs from its checksum" in found.warnings[0]
    damage(run / "last")
    found = find_model(run)
    assert found.path.parent.name == checkpoint_name(1)
    assert len(found.warnings) == 2
    damage(run / "checkpoints" / checkpoint_name(1))
    with pytest.raises(CheckpointError, match=r"no usable checkpoint.*step-00000002.*step-00000003.*step-00000001"):
        find_model(run)


def test_a_damaged_run_among_others_is_not_the_end(run: Path) -> None:
    """Of the runs under runs/, one whose manifest cannot be read is passed over."""
    make_checkpoint(Path("runs/a"), 1)
    make_checkpoint(Path("runs/b"), 1)
    Path("runs/b/last/manifest.json").write_text("{")
    assert newest_run(finished=True) == Path("runs/a")


def test_dangling_links_are_passed_over(run: Path) -> None:
    (run / "best").unlink()
    (run / "best").symlink_to("checkpoints/gone")
    assert find_model(run).path.parent.name == checkpoint_name(3)
    (run / "last").unlink()
    assert find_model(run).path.parent.name == checkpoint_name(3)


def test_a_damaged_file_or_checkpoint_that_was_named_is_an_error(run: Path) -> None:
    damage(run / "last")
    for reference in (run / "last", run / "last" / "ema.safetensors"):
        with pytest.raises(CheckpointError, match="differs from its checksum"):
            find_model(reference)


def test_names_of_checkpoints_sort_by_step(tmp_path: Path) -> None:
    steps = (9, 100, 12_000, 10**8 + 1)
    for step in steps:
        (tmp_path / "checkpoints" / checkpoint_name(step)).mkdir(parents=True)
    assert [path.name for path in checkpoint_paths(tmp_path)] == [checkpoint_name(step) for step in steps]


def test_load_gives_a_model_that_is_ready(run: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    model = load(run)
    assert torch.equal(torch.rand(1), expected)  # the generator of whoever calls is left alone
    assert not model.training
    assert model.config == MODEL
    stored = load_weights(find_model(run).path)[1]
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())


def test_foreign_weights(tmp_path: Path, run: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "page.html").write_text("<html></html>")
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors")
    partial = state(0)
    del partial["out.v"]
    save_weights(tmp_path / "partial.safetensors", partial, CONFIG)
    save_weights(tmp_path / "nan.safetensors", {**state(0), "out.b": torch.full((20,), torch.nan)}, CONFIG)
    wider = RunConfig(ModelConfig(nr_filters=6, classes=("a", "b")), DataConfig(), TrainConfig())
    save_weights(tmp_path / "wider.safetensors", state(0), wider)
    for name, message in (
        ("page.html", "not a readable safetensors file"),
        ("foreign.safetensors", "some other program"),
        ("partial.safetensors", "does not fit its own configuration"),
        ("nan.safetensors", "not finite"),
        ("wider.safetensors", "does not fit its own configuration"),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            load(tmp_path / name)
        assert name in str(caught.value)


def test_a_run_is_found_by_its_name_alone(shipped: Path) -> None:
    checkpoint = make_checkpoint(Path("runs/first"), 5)
    assert find_model("first").path.resolve() == (checkpoint / "ema.safetensors").resolve()
    with pytest.raises(CheckpointError, match=r"no model 'frist'; did you mean 'first'\?"):
        find_model("frist")
