"""What is known of the classes before an image is seen: p(c), uniform, as in training, given, or estimated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import ConfigError, DataError

Prior = str | Sequence[float]
ESTIMATED = "estimated"
_MAX_ITERATIONS, _TOLERANCE = 10_000, 1e-9


def log_prior(config: ModelConfig, prior: Prior, log_likelihoods: Tensor | None = None) -> Tensor:
    """log p(c), float64 (classes,).

    Args:
        config: of the model.
        prior: "uniform", "training" (the class frequencies stored with the model), "estimated" (see `estimate_prior`),
            or one weight of 0 or more for each class.
        log_likelihoods: log p(x | c) of the images that the prior is estimated from, (N, classes).

    Raises:
        ConfigError: a prior of another length, with a negative weight, or that the model does not carry.
        DataError: the prior is to be estimated, and there are no images.
    """
    if prior == ESTIMATED and log_likelihoods is not None:
        return estimate_prior(log_likelihoods).log()
    if prior == "uniform":
        weights = torch.ones(config.nr_classes, dtype=torch.float64)
    elif prior == "training":
        if len(config.class_counts) != config.nr_classes:
            raise ConfigError("`prior` is training, but the model does not carry its training frequencies; use uniform")
        weights = torch.tensor(config.class_counts, dtype=torch.float64)
    elif isinstance(prior, str):
        raise ConfigError(
            f"`prior` {prior!r} is not known; use uniform, training, estimated, or one number for each class"
        )
    else:
        weights = torch.tensor(list(prior), dtype=torch.float64)
    if len(weights) != config.nr_classes:
        raise ConfigError(f"`prior` has {len(weights)} numbers, but the model has {config.nr_classes} classes")
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()) or float(weights.sum()) <= 0:
        raise ConfigError(f"`prior` must be numbers of 0 or more with a positive sum, but is {weights.tolist()}")
    return torch.log(weights / weights.sum())


def estimate_prior(log_likelihoods: Tensor) -> Tensor:
    """The class frequencies under which unlabelled images are most probable, by expectation maximisation.

    p(c) <- mean over images of p(c) p(x | c) / sum_k p(k) p(x | k), from the uniform prior on (Saerens, Latinne &
    Decaestecker 2002, doi 10.1162/089976602753284446, equation 2.9). The likelihood is concave in p, so that there is
    one maximum. Overconfident likelihoods bias it towards the frequencies of the predictions; calibrate them first.

    Args:
        log_likelihoods: log p(x | c), divided by the temperature if there is one, (N, C).

    Returns:
        float64 (C,), of sum 1.

    Raises:
        DataError: no images, or log-likelihoods that are not finite.
    """
    if len(log_likelihoods) == 0:
        raise DataError("the frequencies of the classes cannot be estimated from no images; choose a given prior")
    if not bool(log_likelihoods.isfinite().all()):
        raise DataError("the frequencies of the classes cannot be estimated from likelihoods that are not finite")
    log_likelihoods = log_likelihoods.double()
    prior = torch.full(log_likelihoods.shape[1:], 1 / log_likelihoods.shape[1], dtype=torch.float64)
    for _ in range(_MAX_ITERATIONS):
        following = torch.softmax(log_likelihoods + prior.log(), dim=1).mean(dim=0)
        change = float((following - prior).abs().max())
        prior = following
        if change < _TOLERANCE:
            break
    return prior / prior.sum()
