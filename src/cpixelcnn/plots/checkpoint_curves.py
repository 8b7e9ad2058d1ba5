"""Accuracy, bits/dim and distance of the kept checkpoints of a run over its epochs, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cpixelcnn.plots.figures import BLUE, GREY, new_figure
from cpixelcnn.runs.kept_checkpoints import CheckpointScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_OF_PANEL, HEIGHT = 600, 480  # pixels
_Z95 = 1.959964  # standard errors in half of a 95 % interval

Curve = Sequence[tuple[float, float, float, float]]


def draw_checkpoint_curves(scores: Sequence[CheckpointScores], *, title: str = "", nr_classes: int = 0) -> Figure:
    """The figure: a panel each for the accuracy and the distance, where there are such, and one for bits/dim.

    Args:
        scores: of the checkpoints of one run on the same images.
        title: what stands above the figure, such as the run and the split.
        nr_classes: of the model, for the accuracy of guessing; 0 if there are none.
    """
    from matplotlib.ticker import MaxNLocator

    accuracy = [
        (s.epoch, 100 * s.accuracy, 100 * s.accuracy_low, 100 * s.accuracy_high)
        for s in scores
        if s.accuracy is not None and s.accuracy_low is not None and s.accuracy_high is not None
    ]
    given = all(s.bpd is not None for s in scores)
    means = [(s, s.bpd_marginal if s.bpd is None else s.bpd) for s in scores]
    bits = [(s.epoch, mean, mean - _Z95 * s.bpd_stderr, mean + _Z95 * s.bpd_stderr) for s, mean in means]
    distance = [(s.epoch, s.distance, s.distance, s.distance) for s in scores if s.distance is not None]
    name = next((s.distance_name for s in scores if s.distance_name), "")
    panels: list[tuple[str, str, Curve, bool]] = [
        ("Accuracy", "images classified right (%)", accuracy, True),
        ("Bits/dim", "bits per dimension" + (", class given" if given else ""), bits, False),
        (
            name if name == "FID" else "Distance",
            name if name == "FID" else f"distance ({name}; not an FID)",
            distance,
            False,
        ),
    ]
    shown = [panel for panel in panels if panel[2]]
    figure, axes = new_figure(WIDTH_OF_PANEL * len(shown), HEIGHT, len(shown))
    if title:
        figure.suptitle(title)
    for each, (heading, label, curve, highest) in zip(axes, shown, strict=True):
        _draw(each, curve)
        best = max(curve, key=lambda point: point[1] if highest else -point[1])
        value = f"{best[1]:.1f} %" if highest else f"{best[1]:.4g}"
        each.set_title(f"{heading}: {'highest' if highest else 'lowest'} {value}, epoch {best[0]:.0f}")
        each.set_ylabel(label)
        each.set_xlabel("epoch")
        each.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if heading == "Accuracy" and nr_classes > 1:
            each.axhline(100 / nr_classes, color=GREY, linestyle=":", linewidth=1.2, label="guessing")
        if each.get_legend_handles_labels()[0]:
            each.legend(frameon=False)
    return figure


def _draw(axes: Axes, curve: Curve) -> None:
    epochs, values, low, high = zip(*curve, strict=True)
    axes.plot(epochs, values, color=BLUE, linewidth=1.8, marker="o", markersize=4)
    if low != high:
        axes.fill_between(epochs, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95 % interval")
