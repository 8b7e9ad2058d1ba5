"""The Bayes classifier of a conditional model:  argmax_c [ log p(x | c) / T + log p(c) ]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import ConfigError
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE
from cpixelcnn.evaluation.priors import Prior, log_prior
from cpixelcnn.evaluation.views import view_log_probs
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress, silent


@dataclass(frozen=True)
class Classification:
    """What a model says of the classes of N images.

    Attributes:
        log_likelihoods: log p(x | c) in nats, float64 (N, classes); with several views, their mean.
        log_posteriors: log p(c | x), float64 (N, classes).
        predictions: the most probable class of each image, int64 (N,).
    """

    log_likelihoods: Tensor
    log_posteriors: Tensor
    predictions: Tensor

    @property
    def probabilities(self) -> Tensor:
        """p(c | x), (N, classes); each row sums to one."""
        return self.log_posteriors.exp()


def classify(
    model: PixelCNN,
    images: Tensor,
    *,
    crops: Tensor | None = None,
    prior: Prior = "uniform",
    temperature: float = 1.0,
    views: int = 1,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Classification:
    """Classify images by Bayes' rule with the exact likelihoods of all classes.

    Args:
        model: class-conditional.
        images: uint8 (N, C, H, W).
        crops: their four corners for 10 views, see `view_log_probs`.
        prior: "uniform", "training", "estimated" (from these very images) or one weight for each class.
        temperature: what the log-likelihoods are divided by, as found by `fit_calibration`; 1 for none.
        views: how many views of each image to look at, see `view_log_probs`.
        batch_size: images computed together; it matters to rounding only.
        processes: those that share the work; each calls this and gets the whole result.
        progress: called with the passes done and their total.

    Raises:
        CheckpointError: the model is unconditional and knows no classes.
        ConfigError: the prior does not suit the model's classes, or another number of views.
        DataError: images of another shape than the model's, or 10 views and no corners.
    """
    log_likelihoods = view_log_probs(
        model, images, crops=crops, views=views, batch_size=batch_size, processes=processes, progress=progress
    )
    return posterior(model.config, log_likelihoods.mean(dim=0), prior, temperature)


def posterior(
    config: ModelConfig, log_likelihoods: Tensor, prior: Prior = "uniform", temperature: float = 1.0
) -> Classification:
    """Bayes' rule:  log p(c | x) = log p(x | c) / T + log p(c) - log sum_k p(k) p(x | k)^(1/T).

    Args:
        config: of the model.
        log_likelihoods: log p(x | c), (N, classes).
        prior: as for `classify`.
        temperature: T. Above 1 it makes the posteriors less sure; with a uniform prior it changes no prediction.

    Raises:
        ConfigError: the prior does not suit the model's classes, or a temperature that is not positive.
    """
    if not temperature > 0:
        raise ConfigError(f"`temperature` must be greater than 0, but is {temperature}")
    evidence = log_likelihoods / temperature
    joint = evidence + log_prior(config, prior, evidence)
    return Classification(log_likelihoods, torch.log_softmax(joint, dim=1), joint.argmax(dim=1))
