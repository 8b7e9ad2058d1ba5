"""Runs on file systems without links or locks, copied with links followed, and moved in part to another disk."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.errors import ConfigError
from cpixelcnn.runs.layout import checkpoint_paths, verify_checkpoint
from cpixelcnn.runs.pointers import pointed
from cpixelcnn.training.checkpoint import locked

Cli = Callable[..., Any]


@pytest.fixture
def copy(trained: Callable[..., Path]) -> Callable[..., Path]:
    """A copy of a run of two epochs."""
    return partial(trained, 2)


def goes_on(cli: Cli, run: Path, reference: Path | None = None) -> None:
    """One more epoch is saved and verified without a warning, and the run is a model."""
    outcome = cli("train", "--resume", reference or run, "--epochs", 3)
    assert outcome.code == 0, outcome.err
    assert "warning" not in outcome.err
    last, best = pointed(run, "last"), pointed(run, "best")
    assert last == run / "checkpoints" / "step-00000009"
    assert verify_checkpoint(last)["finished"]
    assert best is not None
    verify_checkpoint(best)
    assert not [*run.glob(".*.tmp"), *run.glob("checkpoints/.*")]
    for model in (run, run / "best", run / "last"):
        outcome = cli("bpd", "--model", model)
        assert outcome.code == 0, outcome.err


def test_without_links(cli: Cli, copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run = copy()
    for name in ("best", "last"):
        (run / name).unlink()

    def symlink(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", symlink)
    goes_on(cli, run)
    assert (run / "last").read_text() == "step-00000009\n"


@pytest.mark.parametrize("reference", [pytest.param("run", marks=pytest.mark.slow), "run/last"])
def test_copied_with_links_followed(cli: Cli, copy: Callable[..., Path], reference: str) -> None:
    run = copy(links=False)
    assert not (run / "last").is_symlink()
    goes_on(cli, run, Path(reference))
    assert (run / "last").is_symlink()


def test_all_checkpoints_on_another_disk(cli: Cli, copy: Callable[..., Path], tmp_path: Path) -> None:
    run = copy()
    shutil.move(run / "checkpoints", tmp_path / "bigger")
    (run / "checkpoints").symlink_to(tmp_path / "bigger")
    goes_on(cli, run, run / "last")


def test_each_checkpoint_on_another_disk(cli: Cli, copy: Callable[..., Path], tmp_path: Path) -> None:
    """They are pruned like others, but what was put elsewhere stays there."""
    run = copy()
    (tmp_path / "bigger").mkdir()
    for checkpoint in checkpoint_paths(run):
        shutil.move(checkpoint, tmp_path / "bigger")
        checkpoint.symlink_to(tmp_path / "bigger" / checkpoint.name)
    goes_on(cli, run)
    assert len(list((tmp_path / "bigger").iterdir())) == 2


def test_a_folder_called_best_is_told_of_and_nothing_is_lost(cli: Cli, training: list[object]) -> None:
    Path("run/best").mkdir(parents=True)
    Path("run/best/picture.png").touch()
    outcome = cli(*training, "--epochs", 1, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "warning: step-00000003 is saved, but run/best cannot be changed" in outcome.err
    assert Path("run/best/picture.png").exists()
    verify_checkpoint(Path("run/checkpoints/step-00000003"))


def test_without_locks(cli: Cli, training: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    outcome = cli(*training, "--epochs", 1, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("no locks") == 1
    with locked(Path("run")), pytest.raises(ConfigError, match=r"or delete run/\.lock-soft"), locked(Path("run")):
        pass
    assert not Path("run/.lock-soft").exists()
