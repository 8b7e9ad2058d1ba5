"""The learning rate: its two courses, their warm-up, and where they end."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.config import TrainConfig
from cpixelcnn.training.schedule import learning_rate

Fit = Callable[..., Any]
shares = st.floats(0, 1)
schedules = st.builds(
    TrainConfig,
    lr=st.floats(1e-6, 1.0),
    lr_decay=st.floats(0.9, 1.0),
    schedule=st.sampled_from(["constant", "cosine"]),
    lr_final=st.floats(0, 1),
    warmup_steps=st.integers(0, 50),
)


@given(schedules, st.integers(0, 10**4), shares)
def test_it_stays_between_zero_and_the_highest(config: TrainConfig, step: int, share: float) -> None:
    assert 0 <= learning_rate(config, step, share) <= config.lr * (1 + 1e-12)


@given(schedules, st.integers(0, 10**3), shares, shares)
def test_it_never_rises_after_the_warm_up(config: TrainConfig, step: int, one: float, other: float) -> None:
    step += config.warmup_steps
    earlier, later = sorted((one, other))
    assert learning_rate(config, step + 1, later) <= learning_rate(config, step, earlier) * (1 + 1e-12)


@given(st.integers(1, 50), st.sampled_from(["constant", "cosine"]))
def test_the_warm_up_is_linear_and_multiplies_either_course(steps: int, schedule: str) -> None:
    warm = TrainConfig(lr=0.5, lr_decay=0.99, schedule=schedule, warmup_steps=steps)
    cold = TrainConfig(lr=0.5, lr_decay=0.99, schedule=schedule)
    for step in range(steps + 3):
        expected = min(1.0, (step + 1) / steps) * learning_rate(cold, step, step / 100)
        assert learning_rate(warm, step, step / 100) == pytest.approx(expected)


def test_the_cosine_by_hand() -> None:
    config = TrainConfig(lr=2.0, lr_decay=0.5, schedule="cosine", lr_final=0.1)  # the decay is the constant course's
    assert learning_rate(config, 99, 0.0) == 2.0
    assert learning_rate(config, 99, 0.5) == pytest.approx(2.0 * 0.55)
    assert learning_rate(config, 99, 1 / 3) == pytest.approx(2.0 * (0.1 + 0.9 * 0.75))
    assert learning_rate(config, 99, 1.0) == pytest.approx(0.2)
    assert learning_rate(config, 99, 1.5) == pytest.approx(0.2)


def test_the_constant_course_is_the_originals_to_the_bit() -> None:
    config = TrainConfig(lr=3e-3, lr_decay=0.99925)
    assert all(learning_rate(config, step, 0.5) == 3e-3 * 0.99925**step for step in range(0, 5000, 7))


def cosine(epochs: int, images_seen: list[int]) -> list[float]:
    return [0.01 * (1 + math.cos(math.pi * seen / (20 * epochs))) / 2 for seen in images_seen]


def test_a_training_follows_it(fit: Fit, tmp_path: Path) -> None:
    steps = fit(tmp_path / "run", epochs=2, lr=0.01, schedule="cosine", warmup_steps=2).steps
    expected = cosine(2, [0, 8, 16, 20, 28, 36])
    assert [step.lr for step in steps] == pytest.approx([expected[0] / 2, *expected[1:]])


def test_more_epochs_go_on_where_the_longer_cosine_is(fit: Fit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run, epochs=1, lr=0.01, schedule="cosine")
    steps = fit(run, epochs=3, lr=0.01, schedule="cosine", resume=True, batch_size=10).steps
    assert [step.lr for step in steps] == pytest.approx(cosine(3, [20, 30, 40, 50]))


def test_the_record_has_the_rate_of_the_last_step(fit: Fit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    last = fit(run, epochs=2, lr=0.01, schedule="cosine", stop_after_step=3).steps[-1]
    resumed = fit(run, epochs=2, lr=0.01, schedule="cosine", resume=True)  # the first epoch is validated only now
    assert resumed.epochs[0][0].lr == last.lr
    assert resumed.epochs[1][0].lr == resumed.steps[-1].lr
