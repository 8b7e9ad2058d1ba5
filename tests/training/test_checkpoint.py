"""Checkpoints: whole or absent, verified, pruned with care, and read without trust."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.model.weights import load_weights, save_weights
from cpixelcnn.runs import layout as runs
from cpixelcnn.runs.layout import checkpoint_paths, read_manifest, verify_checkpoint
from cpixelcnn.runs.models import find_model
from cpixelcnn.training import checkpoint as module
from cpixelcnn.training.checkpoint import find_checkpoint, locked, save_checkpoint
from cpixelcnn.training.pruning import prune
from cpixelcnn.training.restoring import restore
from cpixelcnn.training.state import TrainProgress, TrainState, create_state

FILES = ("config.json", "ema.safetensors", "model.safetensors", "trainer.pt")


@pytest.fixture
def train_state(config: Callable[..., RunConfig], train_set: ImageSet) -> TrainState:
    return create_state(config(), train_set, torch.device("cpu"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with locked(tmp_path / "run"):
        return tmp_path / "run"


@pytest.fixture
def save(run: Path, config: Callable[..., RunConfig], train_state: TrainState) -> Callable[..., Path]:
    def save(step: int, *, best: bool = False, finished: bool = False, keep: str = "2") -> Path:
        train_state.progress.step = step
        train_state.progress.best_step = step if best else train_state.progress.best_step
        return save_checkpoint(run, config(keep_checkpoints=keep), train_state, finished=finished)

    return save


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `saved_twice` keeps what it copies."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def saved_twice(kept: Path, save: Callable[..., Path], run: Path) -> tuple[Path, Path]:
    """The checkpoints of steps 1 and 2, saved once and copied for each test."""
    if not kept.exists():
        save(1), save(2)
        run.rename(kept)
    shutil.copytree(kept, run, symlinks=True, dirs_exist_ok=True)
    older, newest = checkpoint_paths(run)
    return older, newest


def steps(run: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoint_paths(run)]


def test_the_manifest_covers_every_file(save: Callable[..., Path], run: Path) -> None:
    saved = save(12, finished=True)
    manifest = read_manifest(saved)
    assert saved.name == "step-00000012"
    assert sorted(path.name for path in saved.iterdir()) == sorted((*FILES, "manifest.json"))
    assert sorted(manifest["files"]) == sorted(FILES)
    assert (manifest["step"], manifest["epoch"], manifest["images_seen"], manifest["finished"]) == (12, 0, 0, True)
    assert all(len(digest) == 64 for digest in manifest["files"].values())
    assert verify_checkpoint(saved) == manifest
    assert (run / "last").resolve() == saved.resolve()
    assert os.readlink(run / "last").startswith("checkpoints/")


def test_links_survive_moving_the_run(save: Callable[..., Path], run: Path, tmp_path: Path) -> None:
    save(1, best=True)
    shutil.move(run, tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "best" / "manifest.json").is_file()
    assert (tmp_path / "elsewhere" / "last" / "manifest.json").is_file()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda content: content[:-1], id="one byte short"),
        pytest.param(lambda content: content + b"\0\0", id="two bytes more"),
        pytest.param(lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], id="one bit flipped"),
        pytest.param(lambda content: None, id="missing"),
    ],
)
def test_damage_is_noticed_and_the_one_before_is_taken(
    saved_twice: tuple[Path, Path], run: Path, name: str, damage: Callable[[bytes], bytes | None]
) -> None:
    older, newest = saved_twice
    content = damage((newest / name).read_bytes())
    (newest / name).unlink()
    if content is not None:
        (newest / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"step-00000002/{name}"):
        verify_checkpoint(newest)
    found = find_checkpoint(run)
    assert found is not None
    assert found.path == older
    assert len(found.warnings) == 1
    assert f"step-00000002/{name}" in found.warnings[0]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"manifest_version": 1}', "<html>", '{"manifest_version": "x", "files": {}}']
)
def test_a_damaged_manifest_is_noticed(saved_twice: tuple[Path, Path], run: Path, content: str) -> None:
    older, newest = saved_twice
    (newest / "manifest.json").write_text(content)
    found = find_checkpoint(run)
    assert found is not None
    assert found.path == older
    assert "step-00000002" in found.warnings[0]


def test_all_damaged_is_an_error_that_names_them(save: Callable[..., Path], run: Path) -> None:
    for step in (1, 2):
        (save(step) / "trainer.pt").unlink()
    with pytest.raises(CheckpointError, match=r"step-00000002.*step-00000001"):
        find_checkpoint(run)


def test_nothing_there_is_no_error(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None
    assert checkpoint_paths(tmp_path / "absent") == []


def test_order_is_by_step_and_strays_are_ignored(save: Callable[..., Path], run: Path) -> None:
    checkpoints = run / "checkpoints"
    source = save(3)
    for name in ("step-100", "step-9", "step-000000012345678"):
        shutil.copytree(source, checkpoints / name)
    (checkpoints / "step-5").write_text("a file")
    for stray in (".incoming-step-00000200", "step-7.bak", "step--1", "step-x", "notes", "xstep-8"):
        (checkpoints / stray).mkdir()
    assert [path.name for path in checkpoint_paths(run)] == [
        "step-00000003",
        "step-9",
        "step-100",
        "step-000000012345678",
    ]


def test_pruning_keeps_best_last_and_the_newest_two(save: Callable[..., Path], run: Path) -> None:
    for step in range(1, 8):
        save(step, best=step == 2)
        assert steps(run) == sorted({*([2] if step >= 2 else []), *range(max(step - 1, 1), step + 1)})
    assert (run / "best").resolve().name == "step-00000002"
    assert (run / "last").resolve().name == "step-00000007"


def test_pruning_keeps_epochs_at_intervals(save: Callable[..., Path], run: Path, train_state: TrainState) -> None:
    """Ten images an epoch, five a step; the best is of epoch 1, and step 5 is in the middle of an epoch."""
    progress = train_state.progress
    progress.train_images = 10
    for step in range(1, 13):
        progress.epoch, progress.images_seen = step // 2, 5 * step
        save(step, best=step == 2, keep="every:2")
    assert steps(run) == [2, 4, 8, 11, 12]


def test_pruning_gives_up_what_cannot_be_read(save: Callable[..., Path], run: Path, train_state: TrainState) -> None:
    progress = train_state.progress
    progress.train_images = 10
    for epoch in (1, 2, 3, 4):
        progress.epoch, progress.images_seen = epoch, 10 * epoch
        saved = save(epoch, keep="every:1")
        if epoch == 2:
            (saved / "manifest.json").write_text("{")
    assert steps(run) == [1, 3, 4]


def test_pruning_leaves_what_is_not_a_checkpoint(save: Callable[..., Path], run: Path) -> None:
    (run / "checkpoints" / "mine").mkdir()
    for step in range(1, 5):
        save(step)
    prune(run, "2", TrainProgress())
    assert (run / "checkpoints" / "mine").is_dir()
    assert steps(run) == [3, 4]


def test_nothing_is_pruned_before_the_new_one_is_verified(
    save: Callable[..., Path], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        save(step, best=step == 1)

    def bad_disk(path: Path, *_: Any) -> None:
        raise CheckpointError(f"{path} differs from its checksum")

    monkeypatch.setattr(runs, "verify_checkpoint", bad_disk)
    with pytest.raises(CheckpointError):
        save(3, best=True)
    assert {1, 2} <= set(steps(run))
    assert (run / "best").resolve().name == "step-00000001"
    assert (run / "last").resolve().name == "step-00000002"


FAILING = ["save_weights", "write_json", "file_digest", "flush_to_disk", "torch.save", "os.replace"]


@pytest.mark.parametrize("place", FAILING)
@pytest.mark.parametrize("step", [pytest.param(2, id="a new step"), pytest.param(1, id="the same step again")])
def test_a_failure_while_saving_leaves_all_as_it_was(
    save: Callable[..., Path], run: Path, monkeypatch: pytest.MonkeyPatch, place: str, step: int
) -> None:
    save(1, best=True)
    before = {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    owner, _, name = place.rpartition(".")
    monkeypatch.setattr({"torch": torch, "os": os, "": module}[owner], name, full)
    with pytest.raises(OSError, match="No space"):
        save(step)
    monkeypatch.undo()
    assert {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert sorted(os.listdir(run / "checkpoints")) == ["step-00000001"]


@pytest.mark.parametrize("again", [False, True], ids=["a new step", "the same step again"])
def test_a_failing_rename_leaves_the_older_checkpoint(
    save: Callable[..., Path], run: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    sound, original = save(1, best=True), os.replace

    def fail_at_the_end(source: Any, target: Any) -> None:
        if Path(source).name.startswith(".incoming"):
            raise OSError(errno.EIO, "Input/output error")
        original(source, target)

    monkeypatch.setattr(os, "replace", fail_at_the_end)
    with pytest.raises(OSError, match="Input/output"):
        save(1 if again else 2)
    verify_checkpoint(sound)
    verify_checkpoint(run / "best")


@pytest.mark.parametrize("again", [False, True], ids=["a new step", "the same step again"])
@pytest.mark.parametrize("rename", range(6))
def test_killed_at_any_rename(
    save: Callable[..., Path],
    run: Path,
    train_state: TrainState,
    monkeypatch: pytest.MonkeyPatch,
    again: bool,
    rename: int,
) -> None:
    """A process that dies at once: unlike after an exception, nothing can be tidied up."""
    save(1, best=True)
    original, calls = os.replace, iter(range(100))

    def die(source: Any, target: Any) -> None:
        if next(calls) == rename:
            os._exit(9)
        original(source, target)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forking beside threads; this child starts none
        child = os.fork()
    if child == 0:
        try:
            os.replace = die
            save(1 if again else 2)
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (9 if rename < 5 + again else 0)
    found = find_checkpoint(run)
    assert found is not None
    assert found.warnings == ()
    restore(found.path, train_state)
    assert find_model(run).warnings == ()


def test_saving_a_step_again_replaces_it(save: Callable[..., Path], run: Path) -> None:
    assert read_manifest(save(1))["finished"] is False
    assert read_manifest(save(1, finished=True))["finished"] is True
    assert sorted(os.listdir(run / "checkpoints")) == ["step-00000001"]


def test_leftovers_of_a_killed_save_are_in_nobodys_way(save: Callable[..., Path], run: Path) -> None:
    leftover = run / "checkpoints" / ".incoming-step-00000004"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    assert find_checkpoint(run) is None
    save(4)
    assert sorted(os.listdir(run / "checkpoints")) == ["step-00000004"]


class Trap:
    """An object whose unpickling would create a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def with_new_digests(checkpoint: Path) -> None:
    """What somebody who means harm would do after changing a file."""
    manifest = read_manifest(checkpoint)
    manifest["files"] = {name: runs.file_digest(checkpoint / name) for name in manifest["files"]}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def test_a_poisoned_pickle_never_runs(save: Callable[..., Path], train_state: TrainState, tmp_path: Path) -> None:
    marker, saved = tmp_path / "marker", save(1)
    torch.save({"optimiser": Trap(marker), "progression": {}}, saved / "trainer.pt")
    with pytest.raises(CheckpointError, match="differs"):
        verify_checkpoint(saved)
    with_new_digests(saved)
    verify_checkpoint(saved)
    with pytest.raises(CheckpointError, match="cannot be resumed from"):
        restore(saved, train_state)
    assert not marker.exists()


def test_weights_of_another_architecture_are_refused(
    save: Callable[..., Path], config: Callable[..., RunConfig], train_set: ImageSet
) -> None:
    saved = save(1)
    wider = create_state(config(nr_filters=6), train_set, torch.device("cpu"))
    with pytest.raises(CheckpointError, match="step-00000001"):
        restore(saved, wider)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_wrapped_models_are_understood(
    save: Callable[..., Path], train_state: TrainState, config: Callable[..., RunConfig], tmp_path: Path, prefix: str
) -> None:
    plain = train_state.model.state_dict()
    save_weights(tmp_path / "saved", {prefix + name: tensor for name, tensor in plain.items()}, config())
    assert sorted(load_file(tmp_path / "saved")) == sorted(plain)
    header = {"cpixelcnn_config": json.dumps(config().to_json())}
    save_file({prefix + name: tensor.contiguous() for name, tensor in plain.items()}, tmp_path / "foreign", header)
    loaded_config, loaded = load_weights(tmp_path / "foreign")
    assert loaded_config == config()
    train_state.model.load_state_dict(loaded)


def test_newer_formats_are_refused_and_older_ones_load(
    save: Callable[..., Path], run: Path, train_state: TrainState, config: Callable[..., RunConfig]
) -> None:
    saved = save(1)
    manifest = read_manifest(saved)
    (saved / "manifest.json").write_text(json.dumps({**manifest, "manifest_version": 99}))
    with pytest.raises(CheckpointError, match=r"format 99, newer than this version's.*upgrade"):
        find_checkpoint(run)
    saved = save(2)
    older = config().to_json()
    del older["train"]["max_bad_steps"], older["model"]["class_counts"]  # written before these fields existed
    tensors = {name: tensor.contiguous() for name, tensor in train_state.model.state_dict().items()}
    save_file(tensors, saved / "model.safetensors", {"cpixelcnn_config": json.dumps(older)})
    state = torch.load(saved / "trainer.pt", weights_only=True)
    del state["progression"]["bad_steps"]
    torch.save(state, saved / "trainer.pt")
    with_new_digests(saved)
    found = find_checkpoint(run)
    assert found is not None
    assert found.path == saved
    assert found.config.train.max_bad_steps == 20
    assert found.config.model.class_counts == ()
    restore(saved, train_state)
    assert train_state.progress.step == 2
    assert train_state.progress.bad_steps == 0


def test_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        with pytest.raises(ConfigError, match=r"another training is writing to .*run.*`run`"), locked(tmp_path / "run"):
            pass
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path / "run"):
        pass


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "run", tmp_path / "file"):
        with pytest.raises(ConfigError, match=r"cannot be written to .*`run`"), locked(path):
            pass
