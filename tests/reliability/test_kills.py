"""Number 1: a process that is killed at any moment, also while it saves, loses at most one interval."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.model.weights import load_weights
from cpixelcnn.runs import find_model
from cpixelcnn.training.checkpoint import find_checkpoint


def newest_step(run: Path) -> int:
    found = find_checkpoint(run)
    return int(found.manifest["step"]) if found else 0


A_FEW = (0.0, 0.03, 0.07, 0.12)  # an epoch takes about so long, and half of it is saving
MANY = tuple(random.Random(0).uniform(0.0, 0.2) for _ in range(25))


@pytest.mark.parametrize(
    "delays", [A_FEW, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids=["4", "25"]
)
def test_killed_again_and_again(
    delays: tuple[float, ...],
    start: Callable[..., subprocess.Popen[bytes]],
    cli: Callable[..., Any],
    training: list[object],
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    for delay in delays:
        before = newest_step(run)
        process = start(*training, "--epochs", 10_000, "--out", run, "--resume", "auto", stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while newest_step(run) <= before:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(delay)
        process.kill()
        _, errors = process.communicate()
        assert b"warning" not in errors, errors
        found = find_checkpoint(run)
        assert found is not None
        assert found.warnings == ()
        assert found.manifest["step"] > before
        assert find_model(run).warnings == ()

    epochs = newest_step(run) // 3 + 1
    outcome = cli(*training, "--epochs", epochs, "--out", run, "--resume", "auto")
    assert outcome.code == 0, outcome.err
    assert cli(*training, "--epochs", epochs, "--out", tmp_path / "whole").code == 0
    for name in ("model.safetensors", "ema.safetensors"):
        parts, whole = (load_weights(path / "last" / name)[1] for path in (run, tmp_path / "whole"))
        assert all(bool((parts[key] == whole[key]).all()) for key in whole)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, epochs + 1))


@pytest.mark.parametrize("text", ["", '{"epoch": 1', "[]\n", '{"epoch": 1, "unknown": 2}\n'])
def test_damaged_figures_do_not_keep_a_run_from_going_on(
    cli: Callable[..., Any], training: list[object], text: str
) -> None:
    """The weights are what was expensive: that a small text file was edited must not lock them up."""
    assert cli(*training, "--epochs", 1, "--out", "run").code == 0
    Path("run/metrics.jsonl").write_text(text)
    outcome = cli("train", "--resume", "run", "--epochs", 2)
    assert outcome.code in (0, 4), outcome.err
    assert text == "" or "metrics.jsonl" in outcome.err
