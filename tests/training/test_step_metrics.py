"""The figures of steps: heard in order, late where the device is ahead, and the training is the same either way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.training import objective
from cpixelcnn.training.step_metrics import DeferredMetrics

CPU, GPU = torch.device("cpu"), torch.device("cuda")
Fit = Callable[..., Any]
State = Callable[[Path], dict[str, Any]]
Rows = Callable[[Path], list[dict[str, Any]]]
Differences = Callable[[dict[str, Any], dict[str, Any]], list[str]]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures arrive one step later, as from a GPU."""
    original = DeferredMetrics.__init__
    monkeypatch.setattr(DeferredMetrics, "__init__", lambda self, device: original(self, GPU))


@pytest.mark.parametrize(("device", "behind"), [(CPU, 0), (GPU, 1)])
def test_figures_are_heard_in_order(device: torch.device, behind: int) -> None:
    heard: list[tuple[str, list[float]]] = []
    figures = DeferredMetrics[str](device)
    sent = [(name, [float(i), 0.5]) for i, name in enumerate("abc")]
    for i, (name, numbers) in enumerate(sent):
        heard += figures.push(name, torch.tensor(numbers))
        assert heard == sent[: i + 1 - behind]
    heard += figures.flush()
    assert figures.flush() == []
    assert heard == sent


def train(fit: Fit, state: State, rows: Rows, run: Path, **options: Any) -> tuple[Any, ...]:
    recorder = fit(run, **options)
    return recorder.steps, recorder.warnings, rows(run), state(run)


def test_a_training_is_the_same_when_they_are_late(
    fit: Fit, state: State, rows: Rows, differences: Differences, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    steps, warnings, lines, at_once = train(fit, state, rows, tmp_path / "at once", epochs=2)
    request.getfixturevalue("late")
    late_steps, late_warnings, late_lines, late = train(fit, state, rows, tmp_path / "late", epochs=2)
    assert (late_steps, late_warnings, late_lines) == (steps, warnings, lines)
    assert differences(late, at_once) == []


@pytest.mark.usefixtures("late")
def test_interrupted_and_resumed_when_they_are_late(
    fit: Fit, state: State, rows: Rows, differences: Differences, tmp_path: Path
) -> None:
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    fit(parts, epochs=2, stop_after_step=4)
    fit(parts, epochs=2, resume=True)
    fit(whole, epochs=2)
    assert rows(parts) == rows(whole)
    assert differences(state(parts), state(whole)) == []


@pytest.mark.usefixtures("late")
def test_bad_steps_are_counted_when_they_are_late(
    fit: Fit, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(1, 100))

    original = objective.pixel_log_probs

    def poisoned(*arguments: Any, **options: Any) -> Tensor:
        return original(*arguments, **options) * (torch.nan if next(count) in (2, 3) else 1.0)

    monkeypatch.setattr(objective, "pixel_log_probs", poisoned)
    recorder = fit(tmp_path / "run", epochs=2)
    assert [step.step for step in recorder.steps] == [1, 2, 3, 4, 5, 6]
    assert [line["bad_steps"] for line in rows(tmp_path / "run")] == [2, 2]
    assert [warning.split(":")[0] for warning in recorder.warnings] == ["step 2", "step 3"]
