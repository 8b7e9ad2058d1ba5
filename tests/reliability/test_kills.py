"""Number 1: a process that is killed at any moment, also while it saves, loses at most one interval."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.model.weights import load_weights
from cpixelcnn.runs.layout import checkpoint_paths
from cpixelcnn.runs.models import find_model
from cpixelcnn.training.checkpoint import find_checkpoint


def newest_step(run: Path) -> int:
    """By its name alone: a training may remove a checkpoint while it is looked at."""
    return max((int(path.name.removeprefix("step-")) for path in checkpoint_paths(run)), default=0)


A_FEW = (0.03, 0.1)  # an epoch takes about so long, and half of it is saving


def test_killed_again_and_again(train_killed_at: Callable[..., None], training: list[object]) -> None:
    train_killed_at(A_FEW, training)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_preset_tiny_killed_25_times(train_killed_at: Callable[..., None]) -> None:
    """The model and the options of the preset, on fewer images so that an epoch takes seconds."""
    images = ["--train-size", 64, "--eval-images", 4, "--save-interval", 1]
    delays = random.Random(0)
    kills = [delays.choice([delays.uniform(0.0, 0.3), delays.uniform(0.0, 3.0)]) for _ in range(25)]
    train_killed_at(kills, ["train", "--preset", "tiny", *images, "--precision", "float32", "--device", "cpu"])


@pytest.fixture
def train_killed_at(fork: Callable[..., Any], cli: Callable[..., Any], tmp_path: Path) -> Callable[..., None]:
    """Trains; kills so many seconds after each new checkpoint and goes on; compares with the uninterrupted training."""

    def train_killed_at(delays: Sequence[float], training: list[object]) -> None:
        run = tmp_path / "run"
        for delay in delays:
            before = newest_step(run)
            process = fork(*training, "--epochs", 10_000, "--out", run, "--resume", "auto")
            process.wait_for(lambda before=before: newest_step(run) > before)
            time.sleep(delay)
            process.kill()
            assert "warning" not in process.err, process.err
            found = find_checkpoint(run)
            assert found is not None
            assert found.warnings == ()
            assert found.manifest["step"] > before
            assert find_model(run).warnings == ()

        last = find_checkpoint(run)
        assert last is not None
        epochs = int(last.manifest["epoch"]) + 1
        outcome = cli(*training, "--epochs", epochs, "--out", run, "--resume", "auto")
        assert outcome.code == 0, outcome.err
        assert cli(*training, "--epochs", epochs, "--out", tmp_path / "whole").code == 0
        for name in ("model.safetensors", "ema.safetensors"):
            parts, whole = (load_weights(path / "last" / name)[1] for path in (run, tmp_path / "whole"))
            assert all(bool((parts[key] == whole[key]).all()) for key in whole)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == list(range(1, epochs + 1))

    return train_killed_at


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"epoch": 1',
        pytest.param("[]\n", marks=pytest.mark.slow),
        pytest.param('{"epoch": 1, "unknown": 2}\n', marks=pytest.mark.slow),
    ],
)
def test_damaged_figures_do_not_keep_a_run_from_going_on(
    cli: Callable[..., Any], trained: Callable[..., Path], text: str
) -> None:
    """The weights are what was expensive: that a small text file was edited must not lock them up."""
    trained()
    Path("run/metrics.jsonl").write_text(text)
    outcome = cli("train", "--resume", "run", "--epochs", 2)
    assert outcome.code in (0, 4), outcome.err
    assert text == "" or "metrics.jsonl" in outcome.err
