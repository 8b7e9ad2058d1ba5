"""What a classifier gets right and wrong: the confusion matrix, and confidence against accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from cpixelcnn.plots.figures import BLUE, GREY, INK, ORANGE, new_figure, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from cpixelcnn.evaluation.scores import ReliabilityBin

_MOST_COUNTS = 20  # classes up to which every count is written into its cell
_LONGEST_NAME = 14


def draw_confusion(confusion: Tensor, classes: Sequence[str], *, title: str = "") -> Figure:
    """Counts by true class (rows) and predicted class (columns), coloured by the fraction of the true class.

    Args:
        confusion: int64 (C, C).
        classes: C names.
        title: what stands above.
    """
    nr_classes = len(classes)
    cell = max(12, min(80, 900 // nr_classes))
    size = 190 + cell * nr_classes
    figure, (axes,) = new_figure(max(size + 70, 420), max(size, 360))
    axes.grid(visible=False)
    fractions = confusion.double() / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    drawn = axes.imshow(fractions.numpy(), cmap="Blues", vmin=0, vmax=1)
    names = [shortened(name, _LONGEST_NAME) for name in classes]
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if nr_classes > 6 else {}
    axes.set_xticks(range(nr_classes), names, fontsize=9, **turned)
    axes.set_yticks(range(nr_classes), names, fontsize=9)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if nr_classes <= _MOST_COUNTS:
        for row, counts in enumerate(confusion.tolist()):
            for column, count in enumerate(counts):
                colour = "white" if fractions[row, column] > 0.5 else INK
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(drawn, ax=axes, label="fraction of the true class", shrink=0.9, aspect=22)
    if title:
        figure.suptitle(shortened(title, max(size // 9, 36)), fontsize=10)
    return figure


def draw_reliability(bins: Mapping[str, Sequence[ReliabilityBin]], *, title: str = "") -> Figure:
    """Accuracy over confidence: on the diagonal, probabilities are as sure as they are right.

    Args:
        bins: the bins of `reliability`, by what they are called, such as "before calibration"; the area of a point is
            the number of its images.
        title: what stands above.
    """
    figure, (axes,) = new_figure(560, 480)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, label="as sure as right")
    for (name, some), colour, marker in zip(bins.items(), (ORANGE, BLUE), "os", strict=False):
        confidences, accuracies = [each.confidence for each in some], [each.accuracy for each in some]
        total = sum(each.n_images for each in some) or 1
        areas = [12 + 700 * each.n_images / total for each in some]
        axes.plot(confidences, accuracies, color=colour, linewidth=1, marker=marker, markersize=3.5, label=name)
        axes.scatter(confidences, accuracies, s=areas, color=colour, alpha=0.3, linewidths=0, marker=marker)
    axes.set_xlabel("confidence: largest probability")
    axes.set_ylabel("accuracy")
    axes.set_xlim(-0.02, 1.03)
    axes.set_ylim(-0.02, 1.03)
    axes.legend(frameon=False, loc="upper left")
    if title:
        figure.suptitle(shortened(title, 64), fontsize=11)
    return figure
