"""Figures of matplotlib as pictures, without its global state, without a display and without a window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cpixelcnn.storage import write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
BLUE, ORANGE, GREY = "#006aaa", "#d55e00", "#6e747e"  # of Okabe and Ito's palette, which colour-blind people can tell


def new_figure(width: int, height: int, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of this many pixels, with axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for each in axes:
        each.grid(color="#e4e7eb", linewidth=0.8)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """The picture of a figure, uint8 (height, width, 3)."""
    figure.canvas.draw()
    rgba = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    return np.ascontiguousarray(rgba[:, :, :3])


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, replacing an older file in one step.

    Raises:
        OSError: the file cannot be written.
    """
    write_png(path, pixels(figure))
