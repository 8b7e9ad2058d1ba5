"""Figures of matplotlib as pictures, without its global state, without a display and without a window."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.storage import write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
BLUE, ORANGE, GREY = "#006aaa", "#d55e00", "#6e747e"  # of Okabe and Ito's palette, which colour-blind people can tell
INK, GRID = "#22262b", "#e4e7eb"
_ON_DARK = {
    INK: "#e3e6ea",
    "#000000": "#9aa1ab",
    GREY: "#9aa1ab",
    GRID: "#343a42",
    BLUE: "#56b4e9",
    ORANGE: "#f0883e",
}


Box = tuple[float, float, float, float]  # left, bottom, width, height


def blank_figure(width: int, height: int, layout: Literal["constrained"] | None = None) -> Figure:
    """A figure of this many pixels without axes; a constrained layout finds room for texts and takes longer to draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def new_figure(width: int, height: int, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of this many pixels, with axes side by side."""
    figure = blank_figure(width, height, "constrained")
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for each in axes:
        each.grid(color=GRID, linewidth=0.8)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def axes_at(figure: Figure, box: Box) -> Axes:
    """Axes at a place that is given in pixels from the lower left corner."""
    width, height = figure.get_size_inches() * DPI
    left, bottom, wide, high = box
    return figure.add_axes((left / width, bottom / height, wide / width, high / height))


def without_axes(axes: Axes) -> Axes:
    """Axes for an image, which has no need of scales."""
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def shortened(text: str, longest: int) -> str:
    """Text in one line of at most so many characters: where it is longer, its middle is left out."""
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    end = (longest - 3) // 2
    return f"{text[: longest - 3 - end]}...{text[-end:]}"


def as_shown(image: Tensor) -> NDArray[np.uint8]:
    """An image uint8 (C, H, W), grey or RGB, as (H, W, 3)."""
    return np.ascontiguousarray(image.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """The picture of a figure, uint8 (height, width, 3)."""
    with _plain_text(figure):
        figure.canvas.draw()
    rgba = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    return np.ascontiguousarray(rgba[:, :, :3])


def svg_documents(figure: Figure) -> tuple[str, str]:
    """A figure of few lines as SVG, for light pages and for dark ones; its ground is transparent.

    The same figure gives the same documents, whenever they are made.
    """
    import matplotlib

    file = io.StringIO()
    with _plain_text(figure), matplotlib.rc_context({"svg.hashsalt": "cpixelcnn"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    light = dark = file.getvalue()
    for colour, on_dark in _ON_DARK.items():
        dark = dark.replace(colour, on_dark)
    return light, dark


@contextmanager
def _plain_text(figure: Figure) -> Iterator[None]:
    """While open, text is drawn as it is, since names of files and classes are no formulas, dollar signs or not."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        if text.get_color() == "black":
            text.set_color(INK)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # shown as boxes
        yield


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, replacing an older file in one step.

    Raises:
        OSError: the file cannot be written.
    """
    write_png(path, pixels(figure))
