"""Number 50: where a training runs out of memory, one line says what to do, and what was saved is sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.runs.layout import checkpoint_paths, read_manifest, verify_checkpoint
from cpixelcnn.training import objective

Cli = Callable[..., Any]


@pytest.mark.parametrize("step", [pytest.param(4, marks=pytest.mark.slow), 5])
def test_a_training_that_runs_out_of_memory(
    cli: Cli, training: list[object], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The second epoch's first step, or one within it, wants more memory than any machine has."""
    original, calls = objective.pixel_log_probs, iter(range(1, 100))

    def hungry(*arguments: Any, **options: Any) -> Any:
        if next(calls) == step:
            torch.empty(1 << 50, dtype=torch.uint8)
        return original(*arguments, **options)

    monkeypatch.setattr(objective, "pixel_log_probs", hungry)
    outcome = cli(*training, "--epochs", 2, "--out", "run")
    assert outcome.code == 1
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert errors == ["error: out of memory; pass a smaller --batch-size (checkpoints are intact)"]
    (saved,) = checkpoint_paths(Path("run"))
    verify_checkpoint(saved)
    assert not list(Path("run/checkpoints").glob(".*"))
    monkeypatch.setattr(objective, "pixel_log_probs", original)
    assert cli("train", "--resume", "run", "--batch-size", 2).code == 0
    assert read_manifest(Path("run/last"))["finished"]
