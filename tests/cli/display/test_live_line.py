"""The line that moves, in the columns there are."""

from __future__ import annotations

import doctest
import io
import math
import re

import pytest
from rich.console import Console

from cpixelcnn.cli.display import live_line
from cpixelcnn.cli.display.live_line import LiveLine

ALL = ["epoch 121/300", "step 150000", "3.123 bits/dim", "grad norm 0.253", "lr 2.00e-04", "1234 images/s", "12:34:56"]


@pytest.fixture
def line() -> LiveLine:
    """As long as they come."""
    line = LiveLine(100)
    line.images_seen, line.where, line.remaining = 37, "epoch 121/300", "12:34:56"
    line.set_figures(150_000, 3.1234, 0.25342, 2e-4, 1234.4)
    return line


def shown(line: LiveLine, width: int, **options: bool) -> list[str]:
    """The lines on a terminal of this width, without colours."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, legacy_windows=False, **options)
    console.print(line)
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).splitlines()


def test_the_examples_hold() -> None:
    assert doctest.testmod(live_line).failed == 0


@pytest.mark.parametrize("no_color", [False, True])
@pytest.mark.parametrize("width", [1, 5, 20, 28, 30, 40, 41, 60, 79, 80, 100, 119, 120, 300])
def test_it_fits(line: LiveLine, width: int, no_color: bool) -> None:
    lines = shown(line, width, no_color=no_color)
    assert max(map(len, lines)) < max(width, 2)
    assert 1 <= len(lines) <= 4
    if width >= 20:
        assert lines[0].startswith("epoch 121/300")
        assert any("3.123 bits/dim" in text for text in lines)


@pytest.mark.parametrize(("width", "lines"), [(80, 2), (100, 2), (120, 1), (200, 1)])
def test_nothing_is_left_out_at_eighty_columns(line: LiveLine, width: int, lines: int) -> None:
    for no_color in (False, True):
        found = shown(line, width, no_color=no_color)
        assert len(found) == lines
        assert all(figure in "\n".join(found) for figure in ALL)
        assert found[0].rstrip().endswith("ETA 12:34:56")
        assert len(found[0].rstrip()) == width - 1  # the bar takes what is left


def test_the_least_important_figures_go_first(line: LiveLine) -> None:
    assert shown(line, 40)[1:] == ["3.123 bits/dim  grad norm 0.253", "lr 2.00e-04  1234 images/s"]
    assert shown(line, 20) == ["epoch 121/300", "ETA 12:34:56", "3.123 bits/dim", "1234 images/s"]


def test_other_work_takes_the_place_of_the_figures(line: LiveLine) -> None:
    line.activity = "validation 40 %"
    text = "\n".join(shown(line, 80))
    assert "validation 40 %" in text
    assert "bits/dim" not in text


def test_before_the_first_step() -> None:
    assert len(shown(LiveLine(0), 80)) <= 2


def test_plain(line: LiveLine) -> None:
    assert line.plain() == "  ".join([*ALL[:-1], "ETA 12:34:56"])


def test_what_comes_after_the_time_that_is_left(line: LiveLine) -> None:
    line.afterwards = ("samples", "test")
    assert line.plain().endswith("ETA 12:34:56, then samples, test")
    assert shown(line, 80)[0].rstrip().endswith("ETA 12:34:56, then samples, test")
    assert shown(line, 40)[0].rstrip().endswith("ETA 12:34:56")
    assert max(map(len, shown(line, 40))) < 40


def test_figures_that_there_are_not_yet(line: LiveLine) -> None:
    line.set_figures(1, math.nan, math.nan, 0.0, 9.876)
    assert line.plain() == "epoch 121/300  step 1  - bits/dim  grad norm -  lr 0.00e+00  9.88 images/s  ETA 12:34:56"
