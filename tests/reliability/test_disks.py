"""Numbers 2 to 7, 11, 13 and 14 as a user meets them: full disks, damaged files, foreign files, odd places."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn import storage
from cpixelcnn.runs import metrics_log
from cpixelcnn.runs.layout import checkpoint_paths, read_manifest, verify_checkpoint
from cpixelcnn.training import checkpoint, loop
from cpixelcnn.training import validation as between_epochs
from cpixelcnn.training.checkpoint import locked

Cli = Callable[..., Any]


@pytest.fixture
def run(trained: Callable[..., Path], tmp_path: Path) -> Path:
    """A finished run of two epochs."""
    return trained(2, tmp_path / "run")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a function fail as on a full disk, from its nth call to its mth."""

    def fill(owner: object, name: str, first: int, last: int = 10**9) -> None:
        original, calls = getattr(owner, name), iter(range(1, 10**9))

        def write(*arguments: Any, **options: Any) -> Any:
            if first <= next(calls) <= last:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, write)

    return fill


@pytest.mark.parametrize(
    ("owner", "name", "first", "last"),
    [
        pytest.param(torch, "save", 2, 2, id="trainer.pt of the second epoch"),
        pytest.param(checkpoint, "save_weights", 3, 3, id="weights of the second epoch", marks=pytest.mark.slow),
        pytest.param(metrics_log, "write_text", 3, 3, id="figures of the second epoch"),
        pytest.param(between_epochs, "save_grid", 1, 1, id="the first samples", marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_is_full_for_a_while_is_survived(
    cli: Cli, training: list[object], full_disk: Callable[..., None], owner: object, name: str, first: int, last: int
) -> None:
    full_disk(owner, name, first, last)
    outcome = cli(*training, "--epochs", 3, "--sample-interval", 1, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "No space left on device" in outcome.err
    assert "warning" in outcome.err
    assert read_manifest(Path("run/last"))["epoch"] == 3
    lines = Path("run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    assert not list(Path("run").rglob("*.tmp"))
    assert not list(Path("run/checkpoints").glob(".*"))


def test_a_disk_that_stays_full_ends_with_the_older_checkpoint_and_a_remedy(
    cli: Cli, training: list[object], full_disk: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context():
        full_disk(torch, "save", 2)
        outcome = cli(*training, "--epochs", 3, "--out", "run")
    assert outcome.code == 4
    assert "step-00000003 is still good" in outcome.err  # the warning of the second epoch
    last = outcome.err.strip().splitlines()[-1]
    assert "could not be saved" in last
    assert "make room" in last
    assert "--resume run" in last
    assert [path.name for path in checkpoint_paths(Path("run"))] == ["step-00000003"]
    verify_checkpoint(Path("run/best"))
    monkeypatch.undo()


def test_a_full_disk_at_the_start_is_an_error_that_says_so(
    cli: Cli, training: list[object], full_disk: Callable[..., None]
) -> None:
    full_disk(storage.os, "replace", 1)
    outcome = cli(*training, "--epochs", 1, "--out", "run")
    assert outcome.code == 2 or outcome.code == 4, outcome.err
    assert "No space left on device" in outcome.err
    assert "internal error" not in outcome.err


def test_an_unwritable_place_is_refused_before_the_first_step(
    cli: Cli, training: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.Training, "_step", lambda *_: pytest.fail("a step was made"))
    Path("file").touch()
    for out in ("file", "file/below/it"):
        outcome = cli(*training, "--out", out)
        assert outcome.code == 2
        assert f"{out} cannot be written to" in outcome.err
        assert "--out" in outcome.err
    Path("run").mkdir()

    def read_only(path: Path, *arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", read_only)
    outcome = cli(*training, "--out", "run")
    assert outcome.code == 2
    assert "Permission denied" in outcome.err


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "two too many": lambda content: content + b"!!",
    "one bit flipped": lambda content: content[:-100] + bytes([content[-100] ^ 8]) + content[-99:],
}


@pytest.mark.parametrize(
    "damage",
    [kind if kind == "one bit flipped" else pytest.param(kind, marks=pytest.mark.slow) for kind in DAMAGE],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(cli: Cli, run: Path, damage: str) -> None:
    older, newest = checkpoint_paths(run)
    for name in ("ema.safetensors", "model.safetensors"):
        (newest / name).write_bytes(DAMAGE[damage]((newest / name).read_bytes()))
    for link in ("best", "last"):
        (run / link).unlink()
        (run / link).symlink_to(f"checkpoints/{newest.name}")
    outcome = cli("bpd", "--model", run, "--split", "test")
    assert outcome.code == 0, outcome.err
    assert re.search(rf"warning: .*{newest.name}/ema\.safetensors differs", outcome.err)
    assert f"checkpoint {older.name}" in outcome.err
    outcome = cli("train", "--out", run, "--resume", "auto")
    assert outcome.code == 0, outcome.err
    assert newest.name in outcome.err
    assert "trying the one before it" in outcome.err
    assert "resumed    after 1 epoch, 12 images" in outcome.err
    assert verify_checkpoint(run / "last")["step"] == 6
    verify_checkpoint(run / "best")


def test_a_damaged_checkpoint_or_file_that_was_named_is_not_replaced_by_another(cli: Cli, run: Path) -> None:
    newest = checkpoint_paths(run)[-1]
    weights = newest / "ema.safetensors"
    weights.write_bytes(DAMAGE["one bit flipped"](weights.read_bytes()))
    for model in (newest, weights, run / "last"):
        outcome = cli("bpd", "--model", model)
        assert outcome.code == 4
        assert "ema.safetensors differs from its checksum" in outcome.err


def test_all_damaged(cli: Cli, run: Path) -> None:
    for path in checkpoint_paths(run):
        (path / "model.safetensors").write_bytes(b"")
        (path / "ema.safetensors").unlink()
    for arguments in (["bpd", "--model", run], ["train", "--resume", run, "--epochs", 9]):
        outcome = cli(*arguments)
        assert outcome.code == 4
        assert all(path.name in outcome.err for path in checkpoint_paths(run))


def test_poison_never_runs(cli: Cli, run: Path, tmp_path: Path) -> None:
    """A pickle that would create a file, in every place where a user might put one."""

    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    newest = checkpoint_paths(run)[-1]
    torch.save({"optimiser": Trap(), "progression": Trap()}, tmp_path / "poison.pt")
    for name in ("trainer.pt", "model.safetensors"):
        shutil.copy(tmp_path / "poison.pt", newest / name)
        manifest = read_manifest(newest)
        manifest["files"][name] = storage.file_digest(newest / name)
        (newest / "manifest.json").write_text(json.dumps(manifest))
        outcome = cli("train", "--resume", newest, "--epochs", 3)
        assert outcome.code == 4, outcome.err
        assert newest.name in outcome.err
    for arguments in (
        ["bpd", "--model", tmp_path / "poison.pt"],
        ["bpd", "--model", newest, "--raw-weights"],
        ["fid", "--samples", run / "samples", "--weights", tmp_path / "poison.pt", "--model", run],
        [
            "fid",
            "--samples",
            run / "samples",
            "--reference",
            tmp_path / "poison.pt",
            "--features",
            "efficientnet-lite0",
        ],
    ):
        assert cli(*arguments).code in (3, 4)
    assert not (tmp_path / "executed").exists()


def test_a_newer_format(cli: Cli, run: Path) -> None:
    for path in checkpoint_paths(run):
        manifest = read_manifest(path)
        (path / "manifest.json").write_text(json.dumps({**manifest, "manifest_version": 2}))
    for arguments in (["bpd", "--model", run], ["train", "--resume", run, "--epochs", 9]):
        outcome = cli(*arguments)
        assert outcome.code == 4
        assert "newer than this version's 1" in outcome.err
        assert "upgrade" in outcome.err


def test_two_trainings_into_one_directory(cli: Cli, training: list[object], run: Path) -> None:
    with locked(Path("busy")):
        outcome = cli(*training, "--out", "busy")
    assert outcome.code == 2
    assert "another training is writing to busy" in outcome.err
    before = sorted(path.name for path in checkpoint_paths(run))
    with locked(run):
        assert cli("train", "--resume", run, "--epochs", 9).code == 2
    assert sorted(path.name for path in checkpoint_paths(run)) == before


@pytest.mark.parametrize(
    "name", ["-läuft 猫 ☃ :pizza: [red]a'b\"c[/red] [0] 50%", pytest.param("--json", marks=pytest.mark.slow)]
)
def test_odd_places(cli: Cli, training: list[object], name: str) -> None:
    outcome = cli(*training, "--epochs", 1, "--out", name)
    assert outcome.code == 0, outcome.err
    assert name in outcome.out
    assert f"run        {name}\n" in outcome.err
    again = re.search(r"next: cpixelcnn sample --model (.*)   or", outcome.err)
    assert again
    for arguments in (["bpd", "--model", name], ["train", "--resume", name]):
        outcome = cli(*arguments)
        assert outcome.code == 0, outcome.err
        assert name in outcome.err
    assert not Path("runs").exists()


def test_a_data_directory_with_an_odd_name(cli: Cli, training: list[object], photographs: Path, tmp_path: Path) -> None:
    odd = shutil.copytree(photographs, tmp_path / "[data] -ü :pizza: set")
    arguments = [odd if argument == photographs else argument for argument in training]
    assert cli(*arguments, "--epochs", 1, "--out", "run").code == 0
    assert cli("bpd", "--model", "run").code == 0
    assert json.loads(Path("run/config.json").read_text())["data"]["data_dir"] == str(odd)
