"""Line charts drawn with Pillow alone: panels side by side, each with axes, a grid, lines, bands and a legend.

Shapes are drawn several times too large and reduced, which smooths their edges; text is drawn afterwards, since it
smooths its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]

BLUE: Colour = (0, 106, 170)
ORANGE: Colour = (213, 94, 0)
_PAPER, _INK, _GREY, _GRID = (255, 255, 255), (40, 44, 52), (110, 116, 126), (228, 231, 235)
_OVERSAMPLING = 3
_LINE, _MARKER = 2.5, 4.0  # pixels: width of a line, radius of a marker
_MOST_MARKERS = 40  # with more points than this, markers would touch each other
_PADDING = 0.04  # of the range of the data, kept free at each side
_TEXT, _TITLE = 17, 21  # heights of the font
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 82, 18, 62  # margins of a panel: labels lie there


@dataclass(frozen=True)
class Line:
    """Points in the order of their x, joined; where `band` has its (x, low, high), a band behind them."""

    name: str
    points: Sequence[Point]
    colour: Colour
    band: Sequence[tuple[float, float, float]] = ()
    band_name: str = ""


@dataclass(frozen=True)
class Panel:
    """One chart. `y_limits` bound what the axis may show; `y_top`, if given, is where higher values are cut off."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    y_limits: tuple[float, float] = (-math.inf, math.inf)
    y_top: float = math.inf


def draw_panels(panels: Sequence[Panel], width: int = 1200, height: int = 480) -> NDArray[np.uint8]:
    """Panels side by side, which share the range of x: uint8 (height, width, 3). Each needs at least one point."""
    page = Image.new("RGB", (width, height), _PAPER)
    xs = [x for panel in panels for line in panel.lines for x, _ in line.points]
    beside = _PADDING * (max(xs) - min(xs)) or 0.5  # a single point is in the middle
    share = width // len(panels)
    for index, panel in enumerate(panels):
        drawn = _draw_panel(panel, (min(xs) - beside, max(xs) + beside), share, height)
        page.paste(drawn, (index * share, 0))
    return np.asarray(page)


def ticks(low: float, high: float, most: int = 6, *, whole: bool = False) -> list[float]:
    """Round numbers within [low, high], at most `most` of them, evenly spaced by 1, 2, 2.5 or 5 times a power of ten.

    >>> ticks(0.93, 4.1)
    [1.0, 2.0, 3.0, 4.0]
    >>> ticks(1, 16, whole=True)
    [5.0, 10.0, 15.0]
    """
    span = max(high - low, 1e-12)
    power = math.floor(math.log10(span / most))
    for factor, decimals in ((1, 0), (2, 0), (2.5, 1), (5, 0), (10, 0), (20, 0)):
        step = factor * 10.0**power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most and not (whole and step % 1):  # as a rule at the second or third factor
            return [round(k * step, decimals - power) + 0.0 for k in range(first, last + 1)]
    return [low]  # no whole number fits


def _draw_panel(panel: Panel, x_range: Point, width: int, height: int) -> Image.Image:
    y_range = _y_range(panel)
    page = Image.new("RGB", (width, height), _PAPER)
    size = (width - _LEFT - _RIGHT, height - _TOP - _BOTTOM)
    x_ticks, y_ticks = ticks(*x_range, whole=True), [y for y in ticks(*y_range) if _within(y, panel.y_limits)]

    def place(x: float, y: float) -> Point:
        """Pixels from the upper left corner of the plot."""
        across = (x - x_range[0]) / (x_range[1] - x_range[0])
        return across * size[0], (y_range[1] - y) / (y_range[1] - y_range[0]) * size[1]

    page.paste(_draw_plot(panel, size, x_ticks, y_ticks, place), (_LEFT, _TOP))
    _write_labels(page, panel, size, [(x, place(x, y_range[0])[0]) for x in x_ticks], y_ticks, place)
    _write_legend(page, panel)
    return page


def _y_range(panel: Panel) -> Point:
    """What the axis shows: all the points and bands, unless they are cut off, and something around them."""
    ys = [y for line in panel.lines for _, y in line.points]
    ys += [y for line in panel.lines for _, low, high in line.band for y in (low, high)]
    low, high = min(ys), min(max(ys), panel.y_top)
    around = _PADDING * (high - low) or max(0.1 * abs(high), 1e-6)
    return low - around, high + around


def _draw_plot(
    panel: Panel,
    size: tuple[int, int],
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    place: Callable[[float, float], Point],
) -> Image.Image:
    """Bands, then the grid, then lines and markers; what is outside the axes is cut off."""
    scale = _OVERSAMPLING
    plot = Image.new("RGB", (size[0] * scale, size[1] * scale), _PAPER)
    draw = ImageDraw.Draw(plot)

    def at(x: float, y: float) -> Point:
        across, down = place(x, y)
        return across * scale, down * scale

    for line in panel.lines:
        _draw_band(draw, line, at)
    for x in x_ticks:
        draw.line([(at(x, 0)[0], 0), (at(x, 0)[0], plot.height)], fill=_GRID, width=scale)
    for y in y_ticks:
        draw.line([(0, at(0, y)[1]), (plot.width, at(0, y)[1])], fill=_GRID, width=scale)
    for line in panel.lines:
        pixels = [at(x, y) for x, y in line.points]
        if len(pixels) > 1:
            draw.line(pixels, fill=line.colour, width=round(_LINE * scale), joint="curve")
        if len(pixels) <= _MOST_MARKERS:
            for pixel in pixels:
                draw.circle(pixel, _MARKER * scale, fill=line.colour)
    axes = [(0, 0), (0, plot.height - 2), (plot.width, plot.height - 2)]
    draw.line(axes, fill=_GREY, width=2 * scale)
    return plot.reduce(scale)


def _draw_band(draw: ImageDraw.ImageDraw, line: Line, at: Callable[[float, float], Point]) -> None:
    if len(line.band) == 1:  # no area: a bar
        ((x, low, high),) = line.band
        draw.line([at(x, low), at(x, high)], fill=_pale(line.colour), width=round(4 * _LINE * _OVERSAMPLING))
    elif line.band:
        lower = [at(x, low) for x, low, _ in line.band]
        upper = [at(x, high) for x, _, high in line.band]
        draw.polygon(lower + upper[::-1], fill=_pale(line.colour))


def _write_labels(
    page: Image.Image,
    panel: Panel,
    size: tuple[int, int],
    x_ticks: Sequence[Point],
    y_ticks: Sequence[float],
    place: Callable[[float, float], Point],
) -> None:
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(_TEXT)
    bottom = _TOP + size[1]
    draw.text((_LEFT, 14), panel.title, _INK, ImageFont.load_default(_TITLE))
    for x, across in x_ticks:
        draw.text((_LEFT + across, bottom + 8), f"{x:.0f}", _GREY, font, anchor="ma")
    for y, text in zip(y_ticks, _alike(y_ticks), strict=True):
        draw.text((_LEFT - 9, _TOP + place(0, y)[1]), text, _GREY, font, anchor="rm")
    draw.text((_LEFT + size[0] / 2, bottom + 34), panel.x_label, _INK, font, anchor="ma")
    left, top, right, below = (round(side) for side in font.getbbox(panel.y_label))
    upright = Image.new("RGB", (right - left, below - top), _PAPER)
    ImageDraw.Draw(upright).text((-left, -top), panel.y_label, _INK, font)
    upright = upright.rotate(90, expand=True)
    page.paste(upright, (10, _TOP + (size[1] - upright.height) // 2))


def _write_legend(page: Image.Image, panel: Panel) -> None:
    """A row between title and plot: a stroke for each line, a patch for each band."""
    font, across, middle = ImageFont.load_default(_TEXT), float(_LEFT), 60
    draw = ImageDraw.Draw(page)
    for line in panel.lines:
        entries = [(line.name, line.colour, 2)] if line.points else []
        entries += [(line.band_name, _pale(line.colour), 7)] if line.band else []
        for name, colour, half in entries:
            draw.rectangle([(across, middle - half), (across + 26, middle + half - 1)], fill=colour)
            draw.text((across + 34, middle), name, _INK, font, anchor="lm")
            across += 34 + font.getlength(name) + 26


def _alike(values: Sequence[float]) -> list[str]:
    """Numbers with as many decimals as the one that needs most."""
    decimals = max((len(f"{value:.6f}".rstrip("0").split(".")[1]) for value in values), default=0)
    return [f"{value:.{decimals}f}" for value in values]


def _pale(colour: Colour) -> Colour:
    red, green, blue = (round(0.8 * paper + 0.2 * ink) for paper, ink in zip(_PAPER, colour, strict=True))
    return red, green, blue


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]
