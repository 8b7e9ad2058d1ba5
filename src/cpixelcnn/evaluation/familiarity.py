"""A threshold of unfamiliarity, learned on familiar images and stored beside the weights, for every classification."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.evaluation.code_lengths import FILES
from cpixelcnn.evaluation.unfamiliar import Scores, outlier_scores, threshold
from cpixelcnn.runs.side_files import SideFile

QUICK_SCORES = ("typicality", *FILES)  # those that cost a classification next to nothing
ACCEPTED = 0.95
FEWEST_IMAGES = 40


@dataclass(frozen=True)
class Familiarity:
    """From which score on an image is called unfamiliar, and what that was learned on.

    Attributes:
        score: name of the score, see `outlier_scores`.
        threshold: images with a larger score are called unfamiliar.
        accepted: fraction of the familiar images that lie at or below it.
        typical_mean: mean bits/dim of these images, over classes (marginal).
        dataset: name of their data set.
        split: its split.
        n_images: how many images that were.
    """

    score: str
    threshold: float
    accepted: float
    typical_mean: float
    dataset: str
    split: str
    n_images: int

    def __post_init__(self) -> None:
        if self.score not in QUICK_SCORES:
            raise ValueError(f"the score cannot be {self.score!r}")

    def scores(self, bits: Scores, images: Tensor) -> Scores:
        """The scores of images uint8 (N, C, H, W) whose bits/dim (marginal) are known, float64 (N,)."""
        references = {self.score: FILES[self.score](images)} if self.score in FILES else {}
        return outlier_scores(bits, self.typical_mean, references)[self.score]

    def unfamiliar(self, scores: Scores) -> NDArray[np.bool_]:
        """Which of these scores are those of unfamiliar images; one that is not a number is."""
        return ~(scores <= self.threshold)


def fit_familiarity(image_set: ImageSet, bits: Scores, score: str = "png", accepted: float = ACCEPTED) -> Familiarity:
    """Learn a threshold from images that the model was not trained on, such as a validation split.

    Args:
        image_set: familiar images.
        bits: their bits/dim (marginal), float64 (N,).
        score: one of `QUICK_SCORES`; any other would make classification several times slower.
        accepted: fraction of the familiar images that are not to be called unfamiliar.

    Raises:
        ConfigError: another score.
        DataError: fewer than `FEWEST_IMAGES` images, or bits that are not finite.
    """
    if score not in QUICK_SCORES:
        raise ConfigError(f"a threshold can be learned for {', '.join(QUICK_SCORES)}, not for {score!r}")
    if len(bits) < FEWEST_IMAGES or not np.isfinite(bits).all():
        raise DataError(
            f"a threshold needs at least {FEWEST_IMAGES} images with finite likelihoods, but {image_set.name} "
            f"({image_set.split}) has {int(np.isfinite(bits).sum())}; choose a larger split"
        )
    unset = Familiarity(score, 0.0, accepted, float(bits.mean()), image_set.name, image_set.split, len(bits))
    values = unset.scores(bits, image_set.images)
    return replace(unset, threshold=threshold(values, accepted))


THRESHOLDS = SideFile("unfamiliar.json", "threshold", Familiarity, "learn a threshold again")
