"""Calibration: one temperature that makes posteriors as sure as they are right, fitted on labelled images and stored.

A posterior p(c | x) that is made of thousands of log-probabilities is nearly always close to 0 or 1, right or wrong:
the pixels are not the independent witnesses that the model takes them for. Dividing the log-likelihoods by one number
T, fitted on images that the model was not trained on, mends that and changes no prediction under a uniform prior (Guo
et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599, section 4.2).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import DataError
from cpixelcnn.evaluation.bits_per_dim import bits, marginal_log_probs
from cpixelcnn.evaluation.classify import posterior
from cpixelcnn.evaluation.priors import Prior
from cpixelcnn.evaluation.scores import expected_calibration_error, posterior_nll
from cpixelcnn.runs.side_files import SideFile

FEWEST_IMAGES = 20
NR_FOLDS = 5
_LOWEST, _HIGHEST = 1e-3, 1e6  # temperatures


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it was fitted on.

    Attributes:
        temperature: what log-likelihoods are divided by.
        dataset: name of the data set that it was fitted on.
        split: its split.
        n_images: how many images that were.
        images: SHA-256 of these images and their labels.
        views: views of each image, as in `classify`.
        nll_before: mean -log p(true class | x) in nats of these images without a temperature.
        nll_after: the same with a temperature, cross-validated: each image with one that was fitted on others.
        ece_before: expected calibration error without a temperature.
        ece_after: with one, cross-validated.
        bpd_mean: mean bits/dim of these images, over classes (marginal).
        bpd_low: 2.5 % of these images need fewer bits/dim.
        bpd_high: 2.5 % of these images need more bits/dim.
    """

    temperature: float
    dataset: str
    split: str
    n_images: int
    images: str
    views: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    bpd_mean: float
    bpd_low: float
    bpd_high: float

    def __post_init__(self) -> None:
        if not _LOWEST / 2 <= self.temperature <= 2 * _HIGHEST:
            raise ValueError(f"the temperature cannot be {self.temperature}")


def fit_calibration(
    config: ModelConfig, image_set: ImageSet, log_likelihoods: Tensor, *, prior: Prior = "uniform", views: int = 1
) -> Calibration:
    """Fit a temperature on labelled images that the model was not trained on, such as a validation split.

    Args:
        config: of the model.
        image_set: the images, whose labels are indices into the model's classes.
        log_likelihoods: log p(x | c) of their views, float64 (views, N, classes), as from `view_log_probs`.
        prior: p(c), see `log_prior`.
        views: how many views there are.

    Raises:
        DataError: fewer than `FEWEST_IMAGES` images, images without labels or of a class that the prior rules out, or
            likelihoods that are not finite.
    """
    image_set.require_labels("a calibration")
    if len(image_set) < FEWEST_IMAGES:
        raise DataError(
            f"a calibration needs at least {FEWEST_IMAGES} images, but {image_set.name} ({image_set.split}) has "
            f"{len(image_set)}; choose a larger split"
        )
    if not bool(log_likelihoods.isfinite().all()):
        raise DataError("the likelihoods are not finite, so there is nothing to calibrate; choose another checkpoint")
    labels, evidence = image_set.labels, log_likelihoods.mean(dim=0)
    before = posterior(config, evidence, prior).log_posteriors
    after = cross_validated(config, evidence, labels, prior)
    if not math.isfinite(nll := posterior_nll(before, labels)):
        raise DataError("`prior` rules out a class that some images are of, so that no calibration can be fitted")
    images_bits = bits(config, marginal_log_probs(config, log_likelihoods[0]))
    low, high = torch.quantile(images_bits, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Calibration(
        temperature=fit_temperature(config, evidence, labels, prior),
        dataset=image_set.name,
        split=image_set.split,
        n_images=len(image_set),
        images=images_digest(image_set),
        views=views,
        nll_before=nll,
        nll_after=posterior_nll(after, labels),
        ece_before=expected_calibration_error(before.exp(), labels),
        ece_after=expected_calibration_error(after.exp(), labels),
        bpd_mean=float(images_bits.mean()),
        bpd_low=low,
        bpd_high=high,
    )


def fit_temperature(config: ModelConfig, log_likelihoods: Tensor, labels: Tensor, prior: Prior = "uniform") -> float:
    """The temperature with the smallest posterior NLL of log-likelihoods (N, classes) with labels (N,).

    The NLL is convex in 1 / T, hence has one minimum. Where every image is classified right it lies at T = 0, and a
    temperature near that is returned.
    """
    from scipy.optimize import minimize_scalar

    def nll(log_temperature: float) -> float:
        result = posterior(config, log_likelihoods, prior, math.exp(log_temperature))
        # A class that the prior rules out is infinitely surprising at every temperature alike.
        surprise = -result.log_posteriors.gather(1, labels[:, None])
        return float(surprise[surprise.isfinite()].mean()) if bool(surprise.isfinite().any()) else 0.0

    limits = (math.log(_LOWEST), math.log(_HIGHEST))
    return math.exp(float(minimize_scalar(nll, bounds=limits, method="bounded", options={"xatol": 1e-6}).x))


def cross_validated(
    config: ModelConfig, log_likelihoods: Tensor, labels: Tensor, prior: Prior = "uniform", folds: int = NR_FOLDS
) -> Tensor:
    """Calibrated log p(c | x), (N, classes), each image with the temperature that was fitted on the other folds.

    So the scores of images can be reported that a calibration was fitted on. Folds are made by order: image i belongs
    to fold i modulo `folds`.
    """
    result = torch.empty_like(log_likelihoods)
    fold = torch.arange(len(labels)) % folds
    for k in range(folds):
        temperature = fit_temperature(config, log_likelihoods[fold != k], labels[fold != k], prior)
        result[fold == k] = posterior(config, log_likelihoods[fold == k], prior, temperature).log_posteriors
    return result


def images_digest(image_set: ImageSet) -> str:
    """SHA-256 of images and labels, in hexadecimal."""
    digest = hashlib.sha256(image_set.images.contiguous().numpy().tobytes())
    digest.update(image_set.labels.contiguous().numpy().tobytes())
    return digest.hexdigest()


CALIBRATIONS = SideFile("calibration.json", "calibration", Calibration, "fit a calibration again")
