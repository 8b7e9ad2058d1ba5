"""`curves.png` of a run: accuracy and bits per dimension over the epochs, from its `metrics.jsonl` alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cpixelcnn.plots.figures import BLUE, GREY, ORANGE, new_figure, save_figure
from cpixelcnn.runs.metrics_log import METRICS, EpochRecord, read_records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = "curves.png"
WIDTH, HEIGHT = 1200, 480  # pixels
_ENOUGH_TO_CUT = 12  # records from which on an axis may leave out the first, high values
_MOST_MARKERS = 40  # with more points than this, markers would touch each other

Point = tuple[float, float]
Panel = Callable[["Axes", Sequence[EpochRecord], int], None]


def save_curves(run: Path, *, title: str = "", nr_classes: int = 0) -> Path:
    """Draw the metrics of a run beside them, replacing an older picture in one step; returns its path.

    Args:
        run: the run directory.
        title: what stands above the picture, such as the run and its data set.
        nr_classes: of the model, for the accuracy of guessing; 0 if there are none.

    Raises:
        ValueError: there are no metrics yet.
        OSError: the picture cannot be written.
    """
    path = run / CURVES
    save_figure(path, draw_curves(read_records(run / METRICS)[0], title=title, nr_classes=nr_classes))
    return path


def draw_curves(records: Sequence[EpochRecord], *, title: str = "", nr_classes: int = 0) -> Figure:
    """The figure: a panel for the accuracy, where there is one, and one for bits/dim.

    Raises:
        ValueError: no record has anything that could be drawn.
    """
    panels = _panels(records)
    if not panels:
        raise ValueError("there is nothing to draw")
    figure, axes = new_figure(WIDTH, HEIGHT, len(panels))
    if title:
        figure.suptitle(title)
    for draw, each in zip(panels, axes, strict=True):
        _draw(draw, each, records, nr_classes)
    return figure


def draw_panels(records: Sequence[EpochRecord], *, nr_classes: int = 0) -> list[Figure]:
    """The panels of `draw_curves` as figures of their own, none where there is nothing to draw."""
    figures = []
    for draw in _panels(records):
        figure, (axes,) = new_figure(WIDTH // 2, HEIGHT)
        _draw(draw, axes, records, nr_classes)
        figures.append(figure)
    return figures


def _panels(records: Sequence[EpochRecord]) -> list[Panel]:
    return [draw for draw, exists in ((_accuracy, _has_accuracy), (_bits, _has_bits)) if exists(records)]


def _draw(panel: Panel, axes: Axes, records: Sequence[EpochRecord], nr_classes: int) -> None:
    from matplotlib.ticker import MaxNLocator

    panel(axes, records, nr_classes)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(frameon=False)


def _has_accuracy(records: Sequence[EpochRecord]) -> bool:
    return bool(points(records, "accuracy"))


def _has_bits(records: Sequence[EpochRecord]) -> bool:
    return any(points(records, name) for name in ("train_bpd", "validation_bpd", "validation_bpd_marginal"))


def _accuracy(axes: Axes, records: Sequence[EpochRecord], nr_classes: int) -> None:
    accuracy = points(records, "accuracy", 100)
    interval = [
        (r.epoch, 100 * r.accuracy_low, 100 * r.accuracy_high)
        for r in records
        if r.accuracy_low is not None and r.accuracy_high is not None
    ]
    if interval:
        epochs, low, high = zip(*interval, strict=True)
        axes.fill_between(epochs, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95 % interval")
    _line(axes, accuracy, "validation", BLUE)
    if nr_classes > 1:
        axes.axhline(100 / nr_classes, color=GREY, linestyle=":", linewidth=1.2, label="guessing")
    epoch, highest = max(accuracy, key=lambda point: (point[1], -point[0]))
    axes.set_title(f"Accuracy: highest {highest:.1f} %, epoch {epoch:.0f}")
    axes.set_ylabel("images classified right (%)")
    low_limit, high_limit = axes.get_ylim()
    axes.set_ylim(max(low_limit, 0), min(high_limit, 100))


def _bits(axes: Axes, records: Sequence[EpochRecord], nr_classes: int) -> None:
    given_class = any(r.validation_bpd is not None for r in records)
    training = points(records, "train_bpd")
    validation = points(records, "validation_bpd" if given_class else "validation_bpd_marginal")
    _line(axes, training, "training", ORANGE)
    _line(axes, validation, "validation", BLUE)
    title = "Bits/dim"
    if validation:
        epoch, lowest = min(validation, key=lambda point: point[::-1])
        title += f": lowest {lowest:.3f}, epoch {epoch:.0f}"
    axes.set_title(title)
    axes.set_ylabel("bits per dimension" + (", class given" if given_class else ""))
    top = axis_top([y for _, y in training + validation])
    if math.isfinite(top):
        axes.set_ylim(top=top)


def _line(axes: Axes, line: Sequence[Point], label: str, colour: str) -> None:
    if line:
        epochs, values = zip(*line, strict=True)
        marker = "o" if len(line) <= _MOST_MARKERS else None
        axes.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, markersize=4, label=label)


def points(records: Sequence[EpochRecord], metric: str, factor: float = 1) -> list[Point]:
    """(epoch, value times `factor`) of every record that has a finite value of this metric."""
    values = [(float(record.epoch), getattr(record, metric)) for record in records]
    return [(epoch, factor * value) for epoch, value in values if value is not None and math.isfinite(value)]


def axis_top(values: Sequence[float]) -> float:
    """Where to cut the axis: in a long training the first epochs would squeeze all the others into a flat line."""
    if len(values) < _ENOUGH_TO_CUT:
        return math.inf
    lowest, upper_quartile = np.quantile(values, (0, 0.75))
    return float(lowest + 4 * (upper_quartile - lowest)) if upper_quartile > lowest else math.inf
