"""Trainings by the command line on a handful of 8x8 photographs, in this process or in one that can be killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> None:
    """An empty working directory and a wide terminal; trainings draw no pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def signals_do_not_end_the_tests() -> Iterator[None]:
    """A signal that the code under test does not handle fails the test that sent it, and no other."""

    def unhandled(number: int, frame: object) -> None:
        pytest.fail(f"nobody handled {signal.Signals(number).name}")

    previous = {number: signal.signal(number, unhandled) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.fixture
def training(photographs: Path) -> list[object]:
    """Arguments of a training whose epochs of three steps take a fraction of a second."""
    data = ["--dataset", "folder", "--data-dir", photographs, "--image-size", 8]
    sizes = ["--nr-filters", 4, "--nr-logistic-mix", 2, "--batch-size", 4]
    intervals = ["--eval-interval", 1, "--save-interval", 1]
    return ["train", *data, *sizes, *intervals, "--precision", "float32", "--device", "cpu", "--no-test"]


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `trained` keeps what it copies."""
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def trained(finished_runs: Path, cli: Callable[..., Any], training: list[object]) -> Callable[..., Path]:
    """`trained(epochs=1, out="run", links=True)`: a finished run, made once and copied for each test."""

    def trained(epochs: int = 1, out: str | Path = "run", *, links: bool = True) -> Path:
        kept = finished_runs / f"{epochs}-epochs"
        if not kept.exists():
            outcome = cli(*training, "--epochs", epochs, "--out", kept)
            assert outcome.code == 0, outcome.err
        return Path(shutil.copytree(kept, out, symlinks=links))

    return trained


@pytest.fixture
def unharmed() -> Callable[..., None]:
    """Whether an attacked command ended as documented: with one of these codes, and an error in one sentence."""
    begin = time.process_time()  # not by the clock, which a busy machine makes worthless

    def check(outcome: Any, codes: set[int]) -> None:
        nonlocal begin
        assert outcome.code in codes, outcome.err
        assert "internal error" not in outcome.err and "Traceback" not in outcome.err
        errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == (outcome.code != 0), outcome.err
        said = (outcome.err + outcome.out).encode(errors="replace").decode()  # as a terminal gets it
        assert all(character.isprintable() or character in "\t\n" for character in said)
        assert time.process_time() - begin < 20, "it took too long"
        begin = time.process_time()

    return check


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `cpixelcnn` as a process of its own; those that are left at the end of the test are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cpixelcnn", *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        started.append(subprocess.Popen(command, **streams))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
