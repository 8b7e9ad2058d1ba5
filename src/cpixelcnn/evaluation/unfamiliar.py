"""Unfamiliar images: scores that tell images of other kinds than the model's from its own, and how well they do so.

All scores are in bits per dimension and larger for outliers. The likelihood alone is no such score: simple images are
likely under every good model of images, whatever it was trained on (Nalisnick et al. 2019, arXiv 1810.09136).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.evaluation.bits_per_dim import bits, marginal_log_probs, unconditional_log_probs
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE, class_log_probs
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress, silent

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """How well one score tells outliers from familiar images; outliers are the positives.

    Attributes:
        auroc: area under the ROC curve: the probability that an outlier has the larger score; 0.5 is chance.
        auroc_ci95: its 95 % bootstrap interval.
        aupr_in: area under the curve of precision and recall with familiar images as positives.
        aupr_in_ci95: its interval.
        aupr_out: the same with outliers as positives.
        aupr_out_ci95: its interval.
        fpr95: fraction of familiar images that are flagged where 95 % of the outliers are; 0 is best.
        fpr95_ci95: its interval.
    """

    auroc: float
    auroc_ci95: tuple[float, float]
    aupr_in: float
    aupr_in_ci95: tuple[float, float]
    aupr_out: float
    aupr_out_ci95: tuple[float, float]
    fpr95: float
    fpr95_ci95: tuple[float, float]


def image_bits(
    model: PixelCNN,
    images: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Scores:
    """-log2 p(x) / dimensions of images uint8 (N, C, H, W), float64 (N,), with all classes equally likely.

    Every process calls this and gets all.
    """
    if model.config.conditional:
        log_likelihoods = class_log_probs(model, images, batch_size=batch_size, processes=processes, progress=progress)
        log_probs = marginal_log_probs(model.config, log_likelihoods)
    else:
        log_probs = unconditional_log_probs(
            model, images, batch_size=batch_size, processes=processes, progress=progress
        )
    found: Scores = bits(model.config, log_probs).numpy()
    return found


def png_bits(images: Tensor) -> Scores:
    """Bits per dimension of each image as an optimised PNG file, float64 (N,): a measure of its complexity."""
    return _file_bits(images, format="PNG", optimize=True)


def webp_bits(images: Tensor) -> Scores:
    """The same of each image as a lossless WebP file, which is shorter for most photographs.

    Raises:
        ConfigError: Pillow was built without WebP.
    """
    from PIL import features

    if not features.check("webp"):
        raise ConfigError("the score webp needs Pillow with WebP, and this one was built without; leave it out")
    return _file_bits(images, format="WEBP", lossless=True, quality=100, method=6)


def _file_bits(images: Tensor, **options: Any) -> Scores:
    from PIL import Image

    lengths = []
    for image in images.cpu():
        pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(pixels.contiguous().numpy()).save(file, **options)
        lengths.append(8 * file.tell() / image.numel())
    return np.array(lengths)


def outlier_scores(own: Scores, typical_mean: float, references: Mapping[str, Scores]) -> dict[str, Scores]:
    """The scores of images by name, each float64 (N,), larger for outliers.

    Args:
        own: what `image_bits` gives for the images.
        typical_mean: the mean of `image_bits` over familiar images that are not among these, such as validation images.
        references: other code lengths of the same images in bits/dim, by name, such as `png_bits`.

    Returns:
        "likelihood": -log p(x), for comparison; "typicality": its distance from its mean over familiar images
        (Nalisnick et al. 2019, arXiv 1906.02994, for single images); and for each reference -log p(x) less that code
        length.
    """
    scores = {"likelihood": own, "typicality": np.abs(own - typical_mean)}
    return scores | {name: own - reference for name, reference in references.items()}


def detection(familiar: Scores, outliers: Scores, n_bootstrap: int = 200, seed: int = 0) -> Detection:
    """How well a score tells outliers from familiar images, with intervals from resampling both.

    Raises:
        DataError: no images on a side, or scores that are not finite.
    """
    from sklearn import config_context

    if not (len(familiar) and len(outliers)):
        raise DataError("telling unfamiliar images apart needs at least 1 familiar and 1 unfamiliar image")
    if not (np.isfinite(familiar).all() and np.isfinite(outliers).all()):
        raise DataError("some scores of unfamiliarity are not finite; check the model's weights")
    generator = np.random.default_rng(seed)
    values = _curves(familiar, outliers)
    with config_context(skip_parameter_validation=True, assume_finite=True):  # checked above, and once is enough
        again = [
            _curves(generator.choice(familiar, len(familiar)), generator.choice(outliers, len(outliers)))
            for _ in range(n_bootstrap)
        ]
    low, high = np.quantile(np.array(again), [0.025, 0.975], axis=0)
    intervals = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return Detection(values[0], intervals[0], values[1], intervals[1], values[2], intervals[2], values[3], intervals[3])


def detections(familiar: Mapping[str, Scores], outliers: Mapping[str, Scores]) -> dict[str, Detection]:
    """`detection` for every score."""
    return {name: detection(familiar[name], outliers[name]) for name in familiar}


def threshold(familiar: Scores, accepted: float = 0.95) -> float:
    """The score up to which `accepted` of the familiar images lie: larger ones are called unfamiliar.

    It is learned on images that are neither trained on nor reported on, such as validation images.
    """
    return float(np.quantile(familiar, accepted, method="higher"))


def _curves(familiar: Scores, outliers: Scores) -> tuple[float, float, float, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores = np.concatenate([familiar, outliers])
    outlying = np.arange(len(scores)) >= len(familiar)
    cut = np.quantile(outliers, 0.05, method="lower")
    return (
        float(roc_auc_score(outlying, scores)),
        float(average_precision_score(~outlying, -scores)),
        float(average_precision_score(outlying, scores)),
        float((familiar >= cut).mean()),
    )
