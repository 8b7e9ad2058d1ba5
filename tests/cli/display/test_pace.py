"""Speed, time to go, and the average that follows a noisy figure."""

from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.cli.display import pace
from cpixelcnn.cli.display.pace import Pace, Smoothed


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_examples_hold() -> None:
    assert doctest.testmod(pace).failed == 0


@given(st.floats(-1e3, 1e3), st.integers(1, 100))
def test_a_constant_is_its_own_average_from_the_start(value: float, count: int) -> None:
    average = Smoothed()
    for _ in range(count):
        assert average.add(value) == pytest.approx(value)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=50))
def test_the_average_is_the_weighted_mean(values: list[float]) -> None:
    average = Smoothed(0.9)
    for value in values:
        average.add(value)
    weights = [0.9 ** (len(values) - 1 - i) for i in range(len(values))]
    expected = sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)
    assert average.value == pytest.approx(expected, abs=1e-9)


def test_what_is_not_finite_is_left_out() -> None:
    average = Smoothed()
    assert math.isnan(average.add(math.nan))
    assert average.add(2.0) == 2.0
    assert average.add(math.inf) == 2.0


def test_speed_and_time_to_go(clock: Clock) -> None:
    measured = Pace(0, 300, 100, clock)
    for images in (10, 20, 30):
        clock.now += 2
        measured.step(images)
    assert measured.images_per_second == pytest.approx(5)
    assert measured.remaining == pytest.approx(270 / 5)


def test_validation_is_not_slowness_but_takes_time(clock: Clock) -> None:
    measured = Pace(0, 300, 100, clock)
    for images in range(10, 101, 10):
        clock.now += 2
        measured.step(images)
    measured.pause()  # validation
    clock.now += 30
    measured.end_epoch()
    measured.pause()  # samples
    measured.pause()
    clock.now += 10
    measured.go_on()
    assert measured.remaining == pytest.approx(200 / 5 + 2 * 40)
    clock.now += 2
    measured.step(110)
    assert measured.images_per_second == pytest.approx(5)
    assert measured.remaining == pytest.approx(190 / 5 + 1.9 * 40)


def test_going_on_counts_from_where_it_went_on(clock: Clock) -> None:
    measured = Pace(100, 300, 100, clock)
    clock.now += 1
    measured.step(110)
    assert measured.images_per_second == pytest.approx(10)
    assert measured.remaining == pytest.approx(19)


def test_the_end_is_never_overshot(clock: Clock) -> None:
    measured = Pace(0, 10, 10, clock)
    measured.step(12)  # in no time at all
    assert measured.remaining == 0
