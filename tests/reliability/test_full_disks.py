"""Number 3 on a disk that is really full: a file system in memory of so many kilobytes, where this user can mount one.

Elsewhere the exceptions that safetensors and torch raise then are injected, as they were seen on such a disk.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from cpixelcnn.cli.learned import store
from cpixelcnn.cli.setup import LoadedModel
from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError, DataError
from cpixelcnn.evaluation.calibration import CALIBRATIONS, Calibration
from cpixelcnn.fid.frechet import GaussianStatistics, save_statistics
from cpixelcnn.model import weights
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.runs.layout import checkpoint_paths, verify_checkpoint
from cpixelcnn.runs.models import load
from cpixelcnn.storage import writing

Cli = Callable[..., Any]
NO_SPACE = "No space left on device"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount an empty disk of so many kilobytes."""
    place = tmp_path / "disk"

    def mount(kilobytes: int) -> Path:
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this user cannot mount a disk")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
        while file.write(b"0" * 4096):
            pass


def ends_well(outcome: Any, code: int) -> None:
    assert outcome.code == code, outcome.err
    assert NO_SPACE in outcome.err
    assert "internal error" not in outcome.err


@pytest.fixture
def run(trained: Callable[..., Path], tmp_path: Path) -> Path:
    """A finished run."""
    return trained(1, tmp_path / "finished")


@pytest.mark.parametrize("kilobytes", [4, 300, pytest.param(900, marks=pytest.mark.slow)])
def test_training(cli: Cli, training: list[object], disk: Callable[[int], Path], kilobytes: int) -> None:
    """Room for no file, for a part of a checkpoint, and for one and a part: a checkpoint takes 500 kB."""
    run = disk(kilobytes) / "run"
    outcome = cli(*training, "--epochs", 3, "--out", run)
    ends_well(outcome, 2 if kilobytes == 4 else 4)
    saved = checkpoint_paths(run)
    assert len(saved) == (kilobytes == 900)
    for checkpoint in saved:
        verify_checkpoint(checkpoint)
    assert not list(run.rglob("*.tmp"))
    assert not list(run.glob("checkpoints/.*"))
    if saved:
        assert outcome.err.count("training goes on, step-00000003 is still good") == 1  # then comes the last epoch
        assert "make room" in outcome.err.splitlines()[-1]
        subprocess.run(["mount", "-o", "remount,size=4m", str(run.parent)], check=True)
        assert cli("train", "--resume", run).code == 0
        assert verify_checkpoint(run / "last")["finished"]


@pytest.mark.parametrize("format", ["png", "npz"])
@pytest.mark.parametrize("kilobytes", [4, pytest.param(8, marks=pytest.mark.slow), 24])
def test_sampling(cli: Cli, run: Path, disk: Callable[[int], Path], kilobytes: int, format: str) -> None:
    """The manifest, the images, the archive or the grid find no room; with room, the same command goes on."""
    out = disk(kilobytes) / "samples"
    command = ["sample", "--model", run, "-k", 1, "--out", out, "--format", format]
    outcome = cli(*command)
    ends_well(outcome, 3)
    assert "make room" in outcome.err
    assert not list(out.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=4m", str(out.parent)], check=True)
    assert cli(*command).code == 0


def test_statistics(disk: Callable[[int], Path]) -> None:
    place = disk(100)
    statistics = GaussianStatistics.from_features(torch.rand(5, 128))
    with pytest.raises(DataError, match=NO_SPACE):
        save_statistics(place / "statistics.npz", statistics)
    assert list(place.iterdir()) == []


def test_a_calibration(run: Path, disk: Callable[[int], Path]) -> None:
    weights = Path(shutil.copy(run / "last" / "ema.safetensors", disk(200)))
    fill(weights.parent)
    numbers = (0.5,) * 7
    calibration = Calibration(2.0, "embedded", "validation", 20, "", 1, *numbers)
    with pytest.raises(CheckpointError, match=f"beside {weights} .{NO_SPACE}"):
        store(LoadedModel(load(run), RunConfig(), weights, torch.device("cpu")), CALIBRATIONS, calibration)
    assert sorted(path.name for path in weights.parent.iterdir()) == ["ema.safetensors", "filling"]


def test_rows_of_results(cli: Cli, run: Path, photographs: Path, disk: Callable[[int], Path]) -> None:
    place = disk(100)
    fill(place)
    outcome = cli("classify", "--model", run, photographs / "test", "--csv", place / "answers.csv")
    assert outcome.code in (1, 2)
    ends_well(outcome, outcome.code)
    assert "answers.csv" in outcome.err


def test_weights(run: Path, disk: Callable[[int], Path]) -> None:
    place = disk(20)
    with pytest.raises(OSError, match=NO_SPACE) as caught:
        load(run).save(place / "model.safetensors")
    assert caught.value.filename == str(place / "model.safetensors")
    assert list(place.iterdir()) == []


def test_results_that_cannot_be_stored_are_shown(
    cli: Cli, training: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cpixelcnn.training import results

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, NO_SPACE, "run/results.json")

    monkeypatch.setattr(results, "write_json", full)
    outcome = cli(*training, "--epochs", 1, "--out", "run")
    ends_well(outcome, 0)
    assert "warning: run/results.json could not be written" in outcome.err
    assert "accuracy" in outcome.out


SAFETENSORS = "Error while serializing: I/O error: No space left on device (os error 28)"
TORCH = "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"


def raise_as_torch(*_: Any, **__: Any) -> None:
    """What torch raises where the open file that it writes to is on a full disk."""
    try:
        raise OSError(errno.ENOSPC, NO_SPACE)
    except OSError:
        raise RuntimeError(TORCH)  # noqa: B904 (torch does not tell its cause either)


def raise_as_safetensors(*_: Any, **__: Any) -> None:
    raise SafetensorError(SAFETENSORS)


@pytest.mark.parametrize(
    ("library", "first"),
    [
        pytest.param("torch", 1, marks=pytest.mark.slow, id="torch, first epoch"),
        pytest.param("torch", 2, marks=pytest.mark.slow, id="torch, second epoch"),
        pytest.param("torch", 3, id="torch, last epoch"),
        pytest.param("safetensors", 1, marks=pytest.mark.slow, id="safetensors, first epoch"),
        pytest.param("safetensors", 2, id="safetensors, second epoch"),
        pytest.param("safetensors", 3, marks=pytest.mark.slow, id="safetensors, last epoch"),
    ],
)
def test_the_errors_of_the_libraries(
    cli: Cli, training: list[object], monkeypatch: pytest.MonkeyPatch, library: str, first: int
) -> None:
    """A disk that is full for one epoch."""
    owner, name, fail = (torch, "save", raise_as_torch)
    if library == "safetensors":
        owner, name, fail = (weights, "save_file", raise_as_safetensors)  # type: ignore[assignment]
    original, calls = getattr(owner, name), iter(range(1, 100))
    failing = first if library == "torch" else 2 * first - 1  # of two weight files in each epoch, the first

    def save(*arguments: Any, **options: Any) -> None:
        (fail if next(calls) == failing else original)(*arguments, **options)

    monkeypatch.setattr(owner, name, save)
    outcome = cli(*training, "--epochs", 3, "--out", "run")
    ends_well(outcome, 4 if first == 3 else 0)
    assert f"step {3 * first} could not be saved ({NO_SPACE})" in outcome.err
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert not list(Path("run/checkpoints").glob(".*"))


def test_the_best_is_one_that_was_saved(cli: Cli, training: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """The best epoch finds no room; the best of the others is `best`, also after the run went on."""
    from cpixelcnn.training import loop

    ranking = iter([True, True, True, False])  # as if each were better than all before it, but the last
    seen: list[dict[str, float]] = []

    def is_better(record: Any, best: dict[str, float]) -> bool:
        seen.append(dict(best))
        return next(ranking)

    monkeypatch.setattr(loop, "is_better", is_better)
    calls = iter(range(1, 100))
    original = torch.save
    monkeypatch.setattr(torch, "save", lambda *a: raise_as_torch() if next(calls) == 2 else original(*a))
    outcome = cli(*training, "--epochs", 3, "--out", "run")
    ends_well(outcome, 0)
    assert seen[0] == {}
    assert seen[1] == seen[2] != {}  # the third is compared with the first, which is on the disk


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (SafetensorError(SAFETENSORS), (28, NO_SPACE)),
        (SafetensorError("Error while serializing: something else"), (errno.EIO, "Error while serializing")),
        (RuntimeError(TORCH), (errno.EIO, "inline_container")),
        (OSError(errno.ENOSPC, NO_SPACE, ".model.tmp"), (errno.ENOSPC, NO_SPACE)),
    ],
)
def test_each_is_an_os_error_that_names_the_file(raised: Exception, expected: tuple[int, str]) -> None:
    with pytest.raises(OSError, match="model") as caught, writing(Path("model")):
        raise raised
    assert caught.value.errno == expected[0]
    assert expected[1] in caught.value.strerror
    assert caught.value.filename == "model"


@pytest.mark.parametrize("raised", [RuntimeError("out of memory"), ValueError("os error 28"), KeyboardInterrupt()])
def test_other_errors_stay_what_they_are(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as caught, writing(Path("model")):
        raise raised
    assert caught.value is raised


def test_a_model_is_written_where_there_is_room(tmp_path: Path, make_model: Callable[..., PixelCNN]) -> None:
    make_model().save(tmp_path / "model.safetensors")
    assert PixelCNN.load(tmp_path / "model.safetensors").config == make_model().config
