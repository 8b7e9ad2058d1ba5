"""How well predicted classes and their probabilities agree with the truth: pure functions on tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cpixelcnn.errors import DataError


@dataclass(frozen=True)
class ClassificationScores:
    """Posteriors of N images against their labels. Every number is finite.

    Attributes:
        n_images: N.
        accuracy: fraction of images whose most probable class is the true one.
        accuracy_ci95: Wilson's 95 % interval of the accuracy.
        f1_macro: see `macro_f1`.
        confusion: int64 (C, C), rows are true classes, columns predictions.
        nll_posterior: mean -log p(true class | x) in nats; None where it is infinite, that is where some image's true
            class was given probability zero (as by a prior without that class).
        ece: expected calibration error with 15 bins.
        precision: of each class, the fraction of the images predicted to be of it that are; 0 where there are none.
        recall: of each class, the fraction of its images that are predicted to be of it; 0 where there are none.
        brier: see `brier_score`.
    """

    n_images: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    f1_macro: float
    confusion: Tensor
    nll_posterior: float | None
    ece: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    brier: float


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
    probabilities = log_posteriors.double().exp()
    hits = confusion.diagonal().double()
    return ClassificationScores(
        n_images=nr_images,
        accuracy=accuracy(labels, predictions),
        accuracy_ci95=wilson_interval(int(confusion.diagonal().sum()), nr_images),
        f1_macro=macro_f1(confusion),
        confusion=confusion,
        nll_posterior=nll if math.isfinite(nll) else None,
        ece=expected_calibration_error(probabilities, labels),
        precision=tuple((hits / confusion.sum(dim=0).clamp(min=1)).tolist()),
        recall=tuple((hits / confusion.sum(dim=1).clamp(min=1)).tolist()),
        brier=brier_score(probabilities, labels),
    )


def accuracy(labels: Tensor, predictions: Tensor) -> float:
    """Fraction of predictions (N,) that equal their labels (N,).

    Raises:
        DataError: no images.
    """
    _require_images(labels)
    return int((labels == predictions).sum()) / len(labels)


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion after `correct` of `total` trials (Wilson 1927); (0, 1) after no trial.

    Unlike the textbook's p +- z sqrt(p (1 - p) / n) it stays within 0..1 and has a width at p = 0 and p = 1.
    """
    from scipy.stats import binomtest

    if total == 0:
        return 0.0, 1.0
    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def confusion_matrix(labels: Tensor, predictions: Tensor, nr_classes: int) -> Tensor:
    """Count images by true class (row) and predicted class (column), int64 (C, C).

    Raises:
        DataError: a label or a prediction outside 0..C-1.
    """
    for what, indices in (("label", labels), ("prediction", predictions)):
        outside = indices[(indices < 0) | (indices >= nr_classes)]
        if len(outside):
            raise DataError(f"{what} {int(outside[0])} is outside the {nr_classes} classes 0 to {nr_classes - 1}")
    from sklearn.metrics import confusion_matrix as count_pairs

    if not len(labels) or nr_classes == 1:  # for which scikit-learn has an error and a warning
        return torch.full((nr_classes, nr_classes), len(labels))
    return torch.from_numpy(count_pairs(labels.numpy(), predictions.numpy(), labels=np.arange(nr_classes)))


def macro_f1(confusion: Tensor) -> float:
    """Unweighted mean over classes of F1 = 2 TP / (2 TP + FP + FN), from counts of (true, predicted) pairs (C, C).

    The mean goes over the classes that occur among labels or predictions: for any other class F1 is 0 / 0, and it is
    left out. A class that is never predicted, or predicted but never true, counts 0 by the same formula (by convention
    its precision or recall, 0 / 0, is 0). Without any image the result is 0.
    """
    from sklearn.metrics import f1_score

    true, predicted = confusion.nonzero().unbind(1)
    if not len(true):
        return 0.0
    counts = confusion[true, predicted].numpy()
    return float(f1_score(true, predicted, average="macro", sample_weight=counts, zero_division=0.0))


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


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose largest probability lies within one bin.

    Attributes:
        n_images: how many.
        confidence: mean of their largest probabilities.
        accuracy: fraction of them that are classified right.
    """

    n_images: int
    confidence: float
    accuracy: float


def reliability(probabilities: Tensor, labels: Tensor, nr_bins: int = 15) -> list[ReliabilityBin]:
    """Confidence against accuracy in bins of equal width; those without images are left out.

    Args:
        probabilities: p(c | x), (N, C).
        labels: int64 (N,).
        nr_bins: M; bin m holds the images whose largest probability is within ((m - 1) / M, m / M].

    Raises:
        DataError: no images.
    """
    _require_images(labels)
    confidences, predictions = probabilities.double().clamp(0, 1).max(dim=1)  # exp(log p) may round to more than 1
    right = (predictions == labels).double()
    bins = (confidences * nr_bins).ceil().long().sub(1).clamp(0, nr_bins - 1)
    counts, confidence, accuracy = (
        torch.bincount(bins, weights=weights, minlength=nr_bins).tolist()
        for weights in (torch.ones_like(right), confidences, right)
    )
    return [ReliabilityBin(int(n), a / n, b / n) for n, a, b in zip(counts, confidence, accuracy, strict=True) if n]


def expected_calibration_error(probabilities: Tensor, labels: Tensor, nr_bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over the bins of `reliability` (Guo et al. 2017, eq. 3), in 0..1.

    ECE = sum_m |B_m| / N * |acc(B_m) - conf(B_m)|; arXiv 1706.04599. The arguments are those of `reliability`.

    Raises:
        DataError: no images.
    """
    bins = reliability(probabilities, labels, nr_bins)
    return sum(each.n_images * abs(each.accuracy - each.confidence) for each in bins) / len(labels)


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """Mean squared distance of p(c | x), (N, C), from the true class as a one-hot vector, in 0..2 (Brier 1950).

    Raises:
        DataError: no images.
    """
    _require_images(labels)
    truth = torch.nn.functional.one_hot(labels, probabilities.shape[1])
    return float((probabilities.double() - truth).square().sum(dim=1).mean())


def mcnemar(correct_a: Tensor, correct_b: Tensor) -> float:
    """Exact two-sided p-value for "both models are right equally often", from the same N images (McNemar 1947).

    Under that hypothesis each image on which exactly one of the two is right is a toss of a fair coin. Without any such
    image the p-value is 1.

    Args:
        correct_a: bool (N,), whether the first model is right on each image.
        correct_b: bool (N,), the same of the second model.
    """
    from scipy.stats import binomtest

    only_a = int((correct_a & ~correct_b).sum())
    only_b = int((correct_b & ~correct_a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _require_images(labels: Tensor) -> None:
    if len(labels) == 0:
        raise DataError("there are no images to score")
