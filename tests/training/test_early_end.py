"""Ends before the last epoch: patience that is over, and time that is over."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.runs.layout import checkpoint_paths, read_manifest
from cpixelcnn.runs.models import find_model
from cpixelcnn.training import loop
from cpixelcnn.training import stopping as time_module
from cpixelcnn.training import train as train_module
from cpixelcnn.training.plan import Request, make_plan
from cpixelcnn.training.stopping import TimeBudget, TimeSpent

Fit = Callable[..., Any]
Rows = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture
def accuracies(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the validations to come will find, in this order."""
    queue: list[float] = []

    def figures(*_: Any, **__: Any) -> dict[str, Any]:
        accuracy = queue.pop(0)
        known = None if math.isnan(accuracy) else accuracy
        interval = {"accuracy_low": 0.0, "accuracy_high": 1.0}
        return {"validation_images": 8, "accuracy": known, "nll_posterior": 1.0, **interval}

    monkeypatch.setattr(loop, "validation_metrics", figures)
    return queue


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the last training returned."""
    kept: dict[str, Any] = {}
    original = train_module.train

    def keep(*arguments: Any, **options: Any) -> Any:
        kept["result"] = original(*arguments, **options)
        return kept["result"]

    monkeypatch.setattr(train_module, "train", keep)
    return kept


def test_a_chain_of_calls_without_time_comes_to_an_end(fit: Fit, result: dict[str, Any], tmp_path: Path) -> None:
    """Each makes a step; where none is left of the epoch, the validation is its work."""
    run = tmp_path / "run"
    fit(run, epochs=2, max_minutes=1e-9)
    calls = 1
    while not result["result"].finished:
        fit(run, epochs=2, max_minutes=1e-9, resume=True)
        calls += 1
        assert calls < 9
    assert read_manifest(run / "last")["epoch"] == 2


def test_patience_ends_a_training(
    fit: Fit, accuracies: list[float], result: dict[str, Any], rows: Rows, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    accuracies += [0.5, 0.6, 0.6, math.nan, 0.9]
    fit(run, epochs=9, patience=2, save_interval=9)
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3, 4]
    manifest = read_manifest(run / "last")
    assert (manifest["finished"], manifest["epoch"], manifest["stale_validations"]) == (True, 4, 2)
    assert (run / "best").resolve().name == "step-00000006"
    assert (run / "samples" / "epoch-0004.png").is_file()
    assert result["result"].finished
    assert "the last 2 validations brought no new best" in result["result"].note
    assert "newest" in find_model(None, runs=tmp_path).description


def test_a_new_best_renews_it_and_epochs_without_validation_do_not_count(
    fit: Fit,
    accuracies: list[float],
    result: dict[str, Any],
    rows: Rows,
    make_images: Callable[..., ImageSet],
    tmp_path: Path,
) -> None:
    accuracies += [0.5, 0.4, 0.6, 0.5]
    fit(tmp_path / "run", images=make_images(8), epochs=8, patience=2, eval_interval=2, save_interval=8)
    assert [row["accuracy"] for row in rows(tmp_path / "run")] == [None, 0.5, None, 0.4, None, 0.6, None, 0.5]
    assert result["result"].note == ""


@pytest.mark.parametrize("stop_after_step", [3, pytest.param(5, marks=pytest.mark.slow), 6])
def test_it_survives_an_interruption(
    fit: Fit,
    accuracies: list[float],
    rows: Rows,
    make_images: Callable[..., ImageSet],
    tmp_path: Path,
    stop_after_step: int,
) -> None:
    """Within an epoch of two steps, with fewer and more validations behind it, and at the end of one."""
    accuracies += [0.5, 0.4, 0.4, 0.4, 0.9]
    fit(tmp_path / "run", images=make_images(16), epochs=9, patience=3, stop_after_step=stop_after_step)
    fit(tmp_path / "run", images=make_images(16), epochs=9, patience=3, resume=True)
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [1, 2, 3, 4]


def test_it_is_finished_until_more_patience_is_asked_for(
    fit: Fit, accuracies: list[float], rows: Rows, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    accuracies += [0.5, 0.4, 0.9, 0.9]
    fit(run, epochs=4, patience=1)
    for request in (Request(), Request(train={"epochs": 9}), Request(train={"patience": 1})):
        plan = make_plan(request, resume=str(run))
        assert plan.finished
        assert "`patience`" in plan.finish
    for request in (Request(train={"patience": 2}), Request(train={"patience": 0})):
        assert not make_plan(request, resume=str(run)).finished
    assert fit(run, epochs=4, patience=0, resume=True).steps[0].step == 7
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3, 4]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as the budget sees it."""
    now = [1000.0]
    monkeypatch.setattr(time_module.time, "monotonic", lambda: now[0])
    return now


def test_a_budget_of_time(clock: list[float]) -> None:
    budget, unlimited = TimeBudget(1.5), TimeBudget(0)
    clock[0] += 89.9
    budget.check()
    clock[0] += 0.1
    with pytest.raises(TimeSpent):
        budget.check()
    clock[0] += 1e9
    unlimited.check()


def test_time_that_is_over_pauses_a_training(
    fit: Fit,
    result: dict[str, Any],
    rows: Rows,
    state: Callable[[Path], dict[str, Any]],
    differences: Callable[..., list[str]],
    recorder_class: Any,
    clock: list[float],
    tmp_path: Path,
) -> None:
    class Slow(recorder_class):  # type: ignore[misc]
        """Every step takes a minute, and every validation an hour."""

        def on_step(self, step: Any) -> None:
            super().on_step(step)
            clock[0] += 60

        def activity(self, name: str) -> Any:
            clock[0] += 3600
            return super().activity(name)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(whole)
    calls = []
    while not calls or not result["result"].finished:
        recorder = fit(parts, resume=bool(calls), recorder=Slow(), max_minutes=3)
        calls.append([step.step for step in recorder.steps])
        assert read_manifest(parts / "last")["finished"] is result["result"].finished
        if not result["result"].finished:
            assert "paused after 3 minutes" in result["result"].note
            assert f"cpixelcnn train --resume {parts}" in result["result"].note
    # Time is looked at after every step: before a validation, or in the step after the one that took too long.
    assert calls == [[1, 2, 3], [4], [5, 6, 7], [8, 9]]
    assert differences(state(whole), state(parts)) == []
    assert rows(whole) == rows(parts)
    assert checkpoint_paths(parts)


def test_a_limit_is_for_one_call(fit: Fit, tmp_path: Path) -> None:
    """Unlike every other option, it is not taken from the checkpoint."""
    run = tmp_path / "run"
    fit(run, epochs=2, max_minutes=60.0, stop_after_step=2, patience=7)
    train = make_plan(Request(), resume=str(run)).config.train
    assert (train.max_minutes, train.patience) == (0.0, 7)
    assert make_plan(Request(train={"max_minutes": 5.0}), resume=str(run)).config.train.max_minutes == 5.0


def test_the_defaults_end_nothing(config: Callable[..., RunConfig], train_set: ImageSet) -> None:
    options = config().train
    assert (options.patience, options.max_minutes) == (0, 0.0)
