"""Trainings by the command line on a handful of 8x8 photographs, in this process or in one that can be killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.model.network import PixelCNN
from cpixelcnn.sampling.sample import Samples
from cpixelcnn.training import validation as between_epochs


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory and a wide terminal."""
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


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the sample grid takes longer than all the rest of a training of this size; a blank one will do."""

    def blank(model: PixelCNN, labels: list[int], *, seed: int, progress: Callable[[int, int], None]) -> Samples:
        progress(1, 1)
        images = torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8)
        return Samples(images, torch.tensor(labels), (seed,) * len(labels), 0.0)

    monkeypatch.setattr(between_epochs, "sample", blank)


@pytest.fixture
def training(photographs: Path) -> list[object]:
    """Arguments of a training whose epochs of three steps take a fraction of a second."""
    data = ["--dataset", "folder", "--data-dir", photographs, "--image-size", 8]
    sizes = ["--nr-filters", 4, "--nr-logistic-mix", 2, "--batch-size", 4]
    intervals = ["--eval-interval", 1, "--save-interval", 1]
    return ["train", *data, *sizes, *intervals, "--precision", "float32", "--device", "cpu"]


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
        assert all(character.isprintable() or character in "\t\n" for character in outcome.err + outcome.out)
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
