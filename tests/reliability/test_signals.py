"""Numbers 21, 22 and 24: Ctrl-C, SIGTERM, and streams that go away."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.runs.layout import checkpoint_paths, read_manifest, verify_checkpoint
from cpixelcnn.training import checkpoint, loop, objective
from cpixelcnn.training import validation as between_epochs
from cpixelcnn.training.checkpoint import find_checkpoint

Cli = Callable[..., Any]


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have this process receive a signal at the nth call of a function, before that function does its work."""

    def during(owner: object, name: str, nth: int, *numbers: int) -> None:
        original, calls = getattr(owner, name), iter(range(1, 1000))

        def interrupted(*arguments: Any, **options: Any) -> Any:
            if next(calls) == nth:
                for number in numbers:
                    os.kill(os.getpid(), number)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, interrupted)

    return during


PLACES = {
    "a step": (objective, "pixel_log_probs", 5),
    "validation": (between_epochs, "evaluate", 2),
    "saving": (checkpoint, "save_weights", 3),
    "writing the figures": (loop.MetricsLog, "append", 2),
    "drawing samples": (between_epochs, "sample", 1),
}


@pytest.mark.parametrize(
    ("place", "number", "code"),
    [
        *((place, signal.SIGINT, 130) for place in PLACES),
        ("a step", signal.SIGTERM, 143),
        *(pytest.param(place, signal.SIGTERM, 143, marks=pytest.mark.slow) for place in PLACES if place != "a step"),
    ],
)
def test_one_signal_saves_and_tells_how_to_go_on(
    cli: Cli, training: list[object], during: Callable[..., None], place: str, number: int, code: int
) -> None:
    during(*PLACES[place], number)
    options = ["--sample-interval", 1] if place == "drawing samples" else []
    outcome = cli(*training, "--epochs", 4, "--out", "run", *options)
    assert outcome.code == code, outcome.err
    newest = checkpoint_paths(Path("run"))[-1]
    manifest = verify_checkpoint(newest)
    assert (Path("run") / "last").resolve() == newest.resolve()
    assert f"stopped after {manifest['images_seen']} images" in outcome.err
    assert not manifest["finished"]
    assert not list(Path("run/checkpoints").glob(".*"))
    again = re.search(r"resume with: cpixelcnn (.*)", outcome.err)
    assert again
    assert shlex.split(again[1]) == ["train", "--resume", "run"]


def test_the_command_that_is_printed_works(cli: Cli, training: list[object], during: Callable[..., None]) -> None:
    during(*PLACES["a step"], signal.SIGINT)
    outcome = cli(*training, "--epochs", 2, "--out", "it's [my] run; $HOME", "--data-dir", Path(str(training[4])))
    again = re.search(r"resume with: cpixelcnn (.*)", outcome.err)
    assert again
    arguments = shlex.split(again[1])
    assert arguments == ["train", "--resume", "it's [my] run; $HOME"]
    assert cli(*arguments).code == 0
    assert read_manifest(Path("it's [my] run; $HOME/last"))["finished"]


@pytest.mark.parametrize(
    "place", ["saving", *(pytest.param(place, marks=pytest.mark.slow) for place in PLACES if place != "saving")]
)
def test_a_second_ctrl_c_stops_at_once(
    cli: Cli, trained: Callable[..., Path], during: Callable[..., None], place: str
) -> None:
    trained()
    before = {path.name for path in checkpoint_paths(Path("run"))}
    owner, name, _ = PLACES[place]
    during(owner, name, 1, signal.SIGINT, signal.SIGINT)
    outcome = cli("train", "--resume", "run", "--epochs", 2)
    assert outcome.code == 130, outcome.err
    assert "resume with" not in outcome.err  # which is said once the state is saved
    if place != "drawing samples":  # which comes after the save
        assert checkpoint_paths(Path("run"))[-1].name == max(before)
    assert before <= {path.name for path in checkpoint_paths(Path("run"))}
    assert not list(Path("run/checkpoints").glob(".*"))
    found = find_checkpoint(Path("run"))
    assert found is not None
    assert found.warnings == ()
    verify_checkpoint(Path("run/best"))
    during(loop, "create_state", 99)
    assert cli("train", "--resume", "run", "--epochs", 2).code == 0


def test_ctrl_c_outside_of_training_is_no_traceback(
    cli: Cli, trained: Callable[..., Path], during: Callable[..., None]
) -> None:
    from cpixelcnn.evaluation import evaluate as evaluation

    trained()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    during(evaluation, "evaluate", 1, signal.SIGINT)
    outcome = cli("eval", "--model", "run")
    assert outcome.code == 130
    assert len(outcome.err.splitlines()) < 6


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_process_of_its_own(fork: Any, training: list[object], number: int, code: int) -> None:
    process = fork(*training, "--epochs", 10_000, "--out", "run")
    process.wait_for(Path("run/last/manifest.json").exists)
    process.send_signal(number)
    sent = time.monotonic()
    assert process.wait(30) == code, process.err
    assert time.monotonic() - sent < 10
    assert "epoch 1/10000" in process.out
    assert "cpixelcnn train --resume run" in process.err
    verify_checkpoint(Path("run/last"))


def test_nohup(fork: Any, training: list[object]) -> None:
    """What ignores SIGHUP when it begins (nohup does that for it) outlives the terminal."""
    process = fork(*training, "--epochs", 10_000, "--out", "run", ignored=[signal.SIGHUP])

    def has_validated(epochs: int) -> bool:
        figures = Path("run/metrics.jsonl")
        return figures.exists() and len(figures.read_text().splitlines()) >= epochs

    process.wait_for(lambda: has_validated(1))
    process.send_signal(signal.SIGHUP)
    process.wait_for(lambda: has_validated(3))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, process.err
    verify_checkpoint(Path("run/last"))


@pytest.mark.parametrize("stream", ["stderr", pytest.param("stdout", marks=pytest.mark.slow)])
def test_a_reader_that_has_gone_away_does_not_stop_the_training(fork: Any, training: list[object], stream: str) -> None:
    """`cpixelcnn train | head -1`: the pipe is broken from the second line on; the training is what matters."""
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    process = fork(*training, "--epochs", 3, "--out", "run", **{stream: "pipe"})
    process.wait_for(lambda: select.select([reader], [], [], 0)[0])
    os.close(reader)
    assert process.wait(60) == 0, process.err
    assert read_manifest(Path("run/last"))["finished"] is True
    if stream == "stderr":
        assert "epoch 3/3" in process.out  # what goes to stdout still arrives
    else:
        assert "Traceback" not in process.err
        assert "Exception ignored" not in process.err


@pytest.fixture
def nobody_reads() -> Iterator[int]:
    """The writing end of a pipe whose reader has gone away."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def test_a_document_that_nobody_reads_is_no_error(start: Any, trained: Callable[..., Path], nobody_reads: int) -> None:
    trained()
    process = start("bpd", "--model", "run", "--json", stdout=nobody_reads)
    _, err = process.communicate(timeout=100)
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err
    assert process.returncode == 0, err


def test_streams_that_are_closed_from_the_start(training: list[object]) -> None:
    """`cpixelcnn train >&- 2>&-`, as some job schedulers start their jobs."""
    command = shlex.join([sys.executable, "-m", "cpixelcnn", *map(str, training), "--epochs", "1", "--out", "run"])
    done = subprocess.run(["bash", "-c", f"{command} >&- 2>&-"], capture_output=True, timeout=100, check=False)
    assert Path("run/last/manifest.json").exists()
    assert read_manifest(Path("run/last"))["finished"] is True
    assert done.returncode == 0
