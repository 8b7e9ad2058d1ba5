"""The images that a classifier is wrong about and surest of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mistake:
    """An image that is taken for another class than its own.

    Attributes:
        index: of the image.
        label: its true class.
        prediction: the class that it is taken for.
        probability: p(prediction | x).
        margin: log p(prediction | x) - log p(label | x) in nats; infinite where the prior rules the true class out.
    """

    index: int
    label: int
    prediction: int
    probability: float
    margin: float


def confident_mistakes(log_posteriors: Tensor, labels: Tensor, most: int) -> list[Mistake]:
    """The mistakes with the largest margins, the largest first.

    Probabilities would not do as a measure: those of many mistakes are 1 to the last digit.

    Args:
        log_posteriors: log p(c | x), (N, C).
        labels: int64 (N,), -1 where the class is not known, which is no mistake.
        most: how many mistakes at most.
    """
    highest, predictions = log_posteriors.max(dim=1)
    margins = highest - log_posteriors.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    wrong = ((labels >= 0) & (predictions != labels)).nonzero()[:, 0]
    ranking = wrong[torch.argsort(margins[wrong], descending=True, stable=True)][:most]
    return [
        Mistake(index, int(labels[index]), int(predictions[index]), float(highest[index].exp()), float(margins[index]))
        for index in ranking.tolist()
    ]
