"""`curves.png` of a run: accuracy and bits per dimension over the epochs, from its `metrics.jsonl` alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpixelcnn.plots.chart import BLUE, ORANGE, Line, Panel, Point, draw_panels
from cpixelcnn.runs.metrics_log import METRICS, EpochRecord, read_records
from cpixelcnn.storage import write_png

CURVES = "curves.png"
_ENOUGH_TO_CUT = 12  # records from which on an axis may leave out the first, high values


def save_curves(run: Path) -> Path:
    """Draw the figures of a run beside them, replacing an older picture in one step; returns its path.

    Raises:
        CheckpointError: the figures are damaged.
        ValueError: there is no figure yet.
        OSError: the picture cannot be written.
    """
    path = run / CURVES
    write_png(path, draw_curves(read_records(run / METRICS)))
    return path


def draw_curves(records: Sequence[EpochRecord]) -> NDArray[np.uint8]:
    """The picture, uint8 (height, width, 3): a panel for the accuracy, where there is one, and one for bits/dim.

    Raises:
        ValueError: no record has a figure that could be drawn.
    """
    panels = [panel for panel in (_accuracy(records), _bits(records)) if any(line.points for line in panel.lines)]
    if not panels:
        raise ValueError("there is no figure to draw")
    return draw_panels(panels)


def _accuracy(records: Sequence[EpochRecord]) -> Panel:
    points = _points(records, "accuracy", 100)
    band = [
        (float(r.epoch), 100 * r.accuracy_low, 100 * r.accuracy_high)
        for r in records
        if r.accuracy_low is not None and r.accuracy_high is not None
    ]
    title = "Accuracy"
    if points:
        epoch, highest = max(points, key=lambda point: (point[1], -point[0]))
        title += f": highest {highest:.1f} %, epoch {epoch:.0f}"
    line = Line("validation", points, BLUE, band, "95 % interval")
    return Panel(title, "epoch", "images classified right (%)", [line], y_limits=(0, 100))


def _bits(records: Sequence[EpochRecord]) -> Panel:
    given_class = any(r.validation_bpd is not None for r in records)
    train = _points(records, "train_bpd")
    validation = _points(records, "validation_bpd" if given_class else "validation_bpd_marginal")
    title = "Bits/dim"
    if validation:
        epoch, lowest = min(validation, key=lambda point: point[::-1])
        title += f": lowest {lowest:.3f}, epoch {epoch:.0f}"
    lines = [Line("training", train, ORANGE), Line("validation", validation, BLUE)]
    label = "bits per dimension" + (", class given" if given_class else "")
    return Panel(title, "epoch", label, lines, y_top=_top([y for line in lines for _, y in line.points]))


def _points(records: Sequence[EpochRecord], figure: str, factor: float = 1) -> list[Point]:
    values = [(float(record.epoch), getattr(record, figure)) for record in records]
    return [(epoch, factor * value) for epoch, value in values if value is not None and math.isfinite(value)]


def _top(values: Sequence[float]) -> float:
    """Where to cut the axis: in a long training the first epochs would squeeze all the others into a flat line."""
    if len(values) < _ENOUGH_TO_CUT:
        return math.inf
    lowest, upper_quartile = np.quantile(values, (0, 0.75))
    return float(lowest + 4 * (upper_quartile - lowest)) if upper_quartile > lowest else math.inf
