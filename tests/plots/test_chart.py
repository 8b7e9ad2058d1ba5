"""Round numbers on the axes, and points where they belong."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cpixelcnn.plots import chart
from cpixelcnn.plots.chart import BLUE, ORANGE, Line, Panel, draw_panels, ticks

FLOATS = st.floats(-1e6, 1e6, allow_nan=False)


def panel(*lines: Line, **options: float) -> Panel:
    return Panel("title", "x", "y", lines, **options)  # type: ignore[arg-type]


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of about this colour, (N, 2)."""
    return np.argwhere(np.abs(picture.astype(int) - colour).max(-1) < 12)


def test_the_examples_hold() -> None:
    assert doctest.testmod(chart).failed == 0


@given(FLOATS, FLOATS, st.booleans())
def test_ticks_are_round_and_evenly_spaced(low: float, high: float, whole: bool) -> None:
    assume(high - low > 1e-3 * max(1.0, abs(low), abs(high)))
    found = ticks(low, high, whole=whole)
    assert 1 <= len(found) <= 6
    assert found == sorted(set(found))
    if len(found) > 1:
        assert all(low - 1e-6 * (high - low) <= tick <= high + 1e-6 * (high - low) for tick in found)
        steps = np.diff(found)
        assert steps == pytest.approx(steps[0], rel=1e-6)
        digits = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
        assert min(abs(digits - round_one) for round_one in (1, 2, 2.5, 5, 10)) < 1e-3
    if whole and high - low > 2:
        assert all(tick == round(tick) for tick in found)


def test_as_many_decimals_as_are_needed() -> None:
    assert chart._alike([3.0, 3.25]) == ["3.00", "3.25"]
    assert chart._alike([20.0, 40.0]) == ["20", "40"]
    assert chart._alike([]) == []


def test_a_rising_line_rises() -> None:
    picture = draw_panels([panel(Line("up", [(1, 0.0), (2, 1.0)], BLUE))], 600, 400)
    assert picture.shape == (400, 600, 3)
    assert picture.dtype == np.uint8
    pixels = where(picture[90:], BLUE)  # below the legend
    left, right = pixels[pixels[:, 1].argmin()], pixels[pixels[:, 1].argmax()]
    assert right[0] < left[0] - 150
    assert right[1] > left[1] + 300


def test_panels_share_the_range_of_x() -> None:
    picture = draw_panels(
        [panel(Line("late", [(9, 0.0), (10, 1.0)], BLUE)), panel(Line("all", [(1, 0.0), (10, 1.0)], ORANGE))], 1200, 400
    )
    columns = where(picture[90:], BLUE)[:, 1]
    assert columns.min() > 400  # in the right part of the left panel
    assert columns.max() < 600 < where(picture[90:], ORANGE)[:, 1].min()


def test_what_is_cut_off_stays_out_of_the_margins() -> None:
    points = [(float(x), 1000.0 if x == 1 else 1.0 + 0.1 * x) for x in range(1, 10)]
    picture = draw_panels([panel(Line("", points, BLUE), y_top=2.0)], 600, 400)
    rows, columns = where(picture[68:], BLUE).T
    assert rows.min() + 68 >= chart._TOP
    assert columns.min() >= chart._LEFT


def test_a_band_lies_behind_its_line() -> None:
    band = [(1, 0.0, 1.0), (2, 0.0, 1.0)]
    picture = draw_panels([panel(Line("line", [(1, 0.5), (2, 0.5)], BLUE, band, "band"))], 600, 400)
    pale, line = where(picture[90:], chart._pale(BLUE)), where(picture[90:], BLUE)
    assert len(pale) > 20 * 300
    assert pale[:, 0].min() < line[:, 0].min() - 50
    assert pale[:, 0].max() > line[:, 0].max() + 50


@pytest.mark.parametrize("y", [0.0, 5.0, -1e-3, 1e9])
def test_a_single_point(y: float) -> None:
    picture = draw_panels([panel(Line("one", [(7, y)], BLUE, [(7, y, y)]))], 600, 400)
    rows, columns = where(picture[90:], BLUE).T
    middle = chart._LEFT + (600 - chart._LEFT - chart._RIGHT) / 2
    assert abs(columns.mean() - middle) < 3
    assert len(rows) > 30
