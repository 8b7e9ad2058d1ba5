"""How the classes of samples compare with those of the real images: a distance between sets mixes both matters."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cpixelcnn.datasets.image_set import UNLABELLED
from cpixelcnn.fid.feature_sets import FeatureSet

TOLERATED = 0.05


@dataclass(frozen=True)
class ClassBalance:
    """Images of each class on either side.

    Attributes:
        classes: names of the classes.
        samples: samples of each class; None where their classes are not known.
        reference: real images of each class; None where theirs are not known.
        difference: total variation distance, from 0 to 1: the fraction of the samples that would have to be of another
            class for the classes to be as frequent as in the reference. None where a side is not known.
    """

    classes: tuple[str, ...]
    samples: tuple[int, ...] | None
    reference: tuple[int, ...] | None
    difference: float | None

    @property
    def warning(self) -> str | None:
        """One sentence where the sides differ by more than a twentieth, and by more than whole images make them."""
        if self.difference is None or not self.samples:
            return None
        rounding = len(self.classes) / (4 * sum(self.samples))  # the most that the best whole numbers can be off
        if self.difference <= TOLERATED + rounding:
            return None
        return (
            f"{100 * self.difference:.0f} % of the samples would have to be of another class for the classes to be as "
            "frequent as in the reference, and this difference is in the value; sample as many of each class"
        )


def class_balance(samples: FeatureSet, reference: FeatureSet | None) -> ClassBalance:
    """Count the classes of samples and reference."""
    classes = samples.classes or (reference.classes if reference else ())
    ours = _counts(samples.labels, classes)
    theirs = _counts(reference.labels, classes) if reference and reference.classes in ((), classes) else None
    difference = None
    if ours and theirs:
        n, m = sum(ours), sum(theirs)
        difference = sum(abs(a / n - b / m) for a, b in zip(ours, theirs, strict=True)) / 2
    return ClassBalance(classes, ours, theirs, difference)


def _counts(labels: Tensor, classes: tuple[str, ...]) -> tuple[int, ...] | None:
    if not len(classes) or not len(labels) or bool((labels == UNLABELLED).any() | (labels >= len(classes)).any()):
        return None
    return tuple(int((labels == label).sum()) for label in range(len(classes)))
