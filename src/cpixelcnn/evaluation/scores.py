"""How well predicted classes and their probabilities agree with the truth: pure functions on tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.errors import DataError

Z_95 = 1.959963984540054  # the normal distribution has 95 % of its mass within this many standard deviations


@dataclass(frozen=True)
class ClassificationScores:
    """Posteriors of N images against their labels. Every number is finite.

    Attributes:
        n_images: N.
        accuracy: share of images whose most probable class is the true one.
        accuracy_ci95: Wilson's 95 % interval of the accuracy.
        f1_macro: see `macro_f1`.
        confusion: int64 (C, C), rows are true classes, columns predictions.
        nll_posterior: mean -log p(true class | x) in nats; None where it is infinite, that is where some image's true
            class was given probability zero (as by a prior without that class).
        ece: expected calibration error with 15 bins.
    """

    n_images: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    f1_macro: float
    confusion: Tensor
    nll_posterior: float | None
    ece: float


def score(log_posteriors: Tensor, labels: Tensor) -> ClassificationScores:
    """Score log p(c | x), (N, C), against labels (N,).

    Raises:
        DataError: no images, a label outside 0..C-1, or posteriors that are not numbers.
    """
    nr_images, nr_classes = log_posteriors.shape
    if bool(log_posteriors.isnan().any()):
        image = int(log_posteriors.isnan().any(dim=1).nonzero()[0])
        raise DataError(f"the posteriors of image {image} are not numbers (NaN), so there is nothing to score")
    predictions = log_posteriors.argmax(dim=1)
    confusion = confusion_matrix(labels, predictions, nr_classes)
    nll = posterior_nll(log_posteriors, labels)
    return ClassificationScores(
        n_images=nr_images,
        accuracy=accuracy(labels, predictions),
        accuracy_ci95=wilson_interval(int(confusion.diagonal().sum()), nr_images),
        f1_macro=macro_f1(confusion),
        confusion=confusion,
        nll_posterior=nll if math.isfinite(nll) else None,
        ece=expected_calibration_error(log_posteriors.double().exp(), labels),
    )


def accuracy(labels: Tensor, predictions: Tensor) -> float:
    """Share of predictions (N,) that equal their labels (N,).

    Raises:
        DataError: no images.
    """
    _require_images(labels)
    return int((labels == predictions).sum()) / len(labels)


def wilson_interval(correct: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Interval of a proportion after `correct` of `total` trials (Wilson 1927); (0, 1) after no trial.

    Unlike the textbook's p +- z sqrt(p (1 - p) / n) it stays within 0..1 and has a width at p = 0 and p = 1.
    """
    if total == 0:
        return 0.0, 1.0
    p = correct / total
    centre = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    # The ends are exactly 0 and 1 when nothing and when everything was correct; rounding must not move them.
    lower = 0.0 if correct == 0 else max(centre - half, 0.0)
    upper = 1.0 if correct == total else min(centre + half, 1.0)
    return lower, upper


def confusion_matrix(labels: Tensor, predictions: Tensor, nr_classes: int) -> Tensor:
    """Count images by true class (row) and predicted class (column), int64 (C, C).

    Raises:
        DataError: a label or a prediction outside 0..C-1.
    """
    for what, indices in (("label", labels), ("prediction", predictions)):
        outside = indices[(indices < 0) | (indices >= nr_classes)]
        if len(outside):
            raise DataError(f"{what} {int(outside[0])} is outside the {nr_classes} classes 0 to {nr_classes - 1}")
    pairs = labels * nr_classes + predictions
    return torch.bincount(pairs, minlength=nr_classes**2).view(nr_classes, nr_classes)


def macro_f1(confusion: Tensor) -> float:
    """Unweighted mean over classes of F1 = 2 TP / (2 TP + FP + FN).

    The mean goes over the classes that occur among labels or predictions: for any other class F1 is 0 / 0, and it is
    left out. A class that is never predicted, or predicted but never true, counts 0 by the same formula (by convention
    its precision or recall, 0 / 0, is 0). Without any image the result is 0.
    """
    hits = confusion.diagonal().double()
    occurrences = (confusion.sum(dim=0) + confusion.sum(dim=1)).double()  # 2 TP + FP + FN
    occurring = occurrences > 0
    if not bool(occurring.any()):
        return 0.0
    return float((2 * hits[occurring] / occurrences[occurring]).mean())


def posterior_nll(log_posteriors: Tensor, labels: Tensor) -> float:
    """Mean -log p(true class | x) in nats; infinite if a true class has probability zero.

    Args:
        log_posteriors: log p(c | x), (N, C).
        labels: int64 (N,).

    Raises:
        DataError: no images.
    """
    _require_images(labels)
    return -float(log_posteriors.double().gather(1, labels[:, None]).mean()) + 0.0  # + 0.0 turns -0.0 into 0.0


def expected_calibration_error(probabilities: Tensor, labels: Tensor, nr_bins: int = 15) -> float:
    """Mean gap between confidence and accuracy in bins of equal confidence (Guo et al. 2017, eq. 3), in 0..1.

    ECE = sum_m |B_m| / N * |acc(B_m) - conf(B_m)|, where B_m are the images whose largest probability is within
    ((m - 1) / M, m / M].

    Args:
        probabilities: p(c | x), (N, C).
        labels: int64 (N,).
        nr_bins: M.

    Raises:
        DataError: no images.
    """
    _require_images(labels)
    confidences, predictions = probabilities.double().clamp(0, 1).max(dim=1)  # exp(log p) may round to more than 1
    surplus = confidences - (predictions == labels).double()
    bins = (confidences * nr_bins).ceil().long().sub(1).clamp(0, nr_bins - 1)
    return float(torch.bincount(bins, weights=surplus, minlength=nr_bins).abs().sum()) / len(labels)


def mcnemar(correct_a: Tensor, correct_b: Tensor) -> float:
    """Exact two-sided p-value for "both models are right equally often", from the same N images (McNemar 1947).

    Under that hypothesis each image on which exactly one of the two is right is a toss of a fair coin. Without any such
    image the p-value is 1.

    Args:
        correct_a: bool (N,), whether the first model is right on each image.
        correct_b: bool (N,), the same of the second model.
    """
    only_a = int((correct_a & ~correct_b).sum())
    only_b = int((correct_b & ~correct_a).sum())
    tosses = only_a + only_b
    ways, tail = 1, 0  # whole numbers, so that no sum or quotient rounds before the last one
    for heads in range(min(only_a, only_b) + 1):
        tail += ways
        ways = ways * (tosses - heads) // (heads + 1)
    return min(2 * tail / (1 << tosses), 1.0)


def _require_images(labels: Tensor) -> None:
    if len(labels) == 0:
        raise DataError("there are no images to score")
