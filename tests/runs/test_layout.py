"""Which weight file a `--model` argument means."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.errors import CheckpointError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import load_weights, save_weights
from cpixelcnn.runs import models
from cpixelcnn.runs.layout import FILES, checkpoint_name, checkpoint_paths, verify_checkpoint
from cpixelcnn.runs.models import _newest_runs, find_model, load, newest_run
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


def make_checkpoint(run: Path, step: int, *, finished: bool = True) -> Path:
    path = run / "checkpoints" / checkpoint_name(step)
    path.mkdir(parents=True)
    for name in ("model.safetensors", "ema.safetensors"):
        save_weights(path / name, state(step), CONFIG)
    for name in ("trainer.pt", "config.json"):  # of which no model is made
        (path / name).touch()
    manifest: dict[str, Any] = {"manifest_version": 1, "step": step, "finished": finished}
    write_json(path / "manifest.json", {**manifest, "files": {name: file_digest(path / name) for name in FILES}})
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
    assert _newest_runs(Path("runs"), finished=True)[0] == Path("runs/new")
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
    assert _newest_runs(Path("runs"), finished=True)[0] == Path("runs/a")


def test_a_run_that_is_damaged_through_and_through_breaks_no_default(shipped: Path) -> None:
    """Neither one with damaged weights nor one whose manifest is a bomb; the next run is taken."""
    for number, name in enumerate(("older", "newer", "newest")):
        manifest = make_checkpoint(Path("runs") / name, 1) / "manifest.json"
        os.utime(manifest, (number, number))
    damage(Path("runs/newer/last"))
    Path("runs/newest/last/manifest.json").write_text("[" * 100_000)
    found = find_model()
    assert found.path.resolve() == Path("runs/older/last/ema.safetensors").resolve()
    assert len(found.warnings) == 1 and "runs/newer holds no usable checkpoint" in found.warnings[0]
    damage(Path("runs/older/last"))
    found = find_model()
    assert found.path == shipped
    assert len(found.warnings) == 2


SHA = "0" * 64


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.clear(),
        lambda files: files.pop("trainer.pt"),
        lambda files: files.update({"/dev/zero": SHA}),
        lambda files: files.update({"../../../config.json": SHA}),
        lambda files: files.update({"model.safetensors": files["model.safetensors"][:8]}),
        lambda files: files.update({"model.safetensors": files["model.safetensors"].upper()}),
        lambda files: files.update({"model.safetensors": None}),
        lambda files: files.update({"model.safetensors": [files["model.safetensors"]]}),
    ],
    ids=["none", "one less", "a device", "another", "short", "upper case", "null", "a list"],
)
def test_a_manifest_names_exactly_the_files_of_a_checkpoint(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = run / "checkpoints" / checkpoint_name(2) / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["files"])
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="it is damaged"):
        verify_checkpoint(path.parent)
    found = find_model(run)
    assert found.path.parent.name == checkpoint_name(3)
    assert len(found.warnings) == 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["manifest.json", "ema.safetensors"])
def test_a_pipe_or_a_device_in_a_checkpoint_is_passed_over(run: Path, name: str) -> None:
    for step, make in ((2, os.mkfifo), (3, lambda path: path.symlink_to("/dev/zero"))):
        path = run / "checkpoints" / checkpoint_name(step) / name
        path.unlink()
        make(path)
    found = find_model(run)
    assert found.path.parent.name == checkpoint_name(1)
    assert len(found.warnings) == 2


def with_header(path: Path, text: bytes) -> None:
    """Replace the header of a safetensors file."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_a_header_that_was_forged_with_its_digest_is_passed_over(run: Path) -> None:
    checkpoint = run / "checkpoints" / checkpoint_name(2)
    with_header(checkpoint / "ema.safetensors", b"[" * 100_000)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"]["ema.safetensors"] = file_digest(checkpoint / "ema.safetensors")
    write_json(checkpoint / "manifest.json", manifest)
    verify_checkpoint(checkpoint)
    found = find_model(run)
    assert found.path.parent.name == checkpoint_name(3)
    assert "levels deep" in found.warnings[0]


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
