"""The Bayes classifier of a conditional model:  argmax_c [ log p(x | c) + log p(c) ]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.device import exact_float32
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.model.network import PixelCNN, evaluation_mode
from cpixelcnn.progress import Progress, silent

Prior = str | Sequence[float]
BATCH_SIZE = 64


@dataclass(frozen=True)
class Classification:
    """What a model says of the classes of N images.

    Attributes:
        log_likelihoods: log p(x | c) in nats, float64 (N, classes).
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
    prior: Prior = "uniform",
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Classification:
    """Classify images uint8 (N, C, H, W) by Bayes' rule with the exact likelihoods of all classes.

    Of several processes each calls this, computes its share of the batches, and gets the whole result.

    Raises:
        CheckpointError: the model is unconditional and knows no classes.
        ConfigError: the prior does not suit the model's classes.
        DataError: images of another shape than the model's.
    """
    log_likelihoods = class_log_probs(model, images, batch_size=batch_size, processes=processes, progress=progress)
    return posterior(model.config, log_likelihoods, prior)


def posterior(config: ModelConfig, log_likelihoods: Tensor, prior: Prior) -> Classification:
    """Bayes' rule on log-likelihoods (N, classes):  log p(c | x) = log p(x | c) + log p(c) - log p(x)."""
    joint = log_likelihoods + log_prior(config, prior)
    return Classification(log_likelihoods, torch.log_softmax(joint, dim=1), joint.argmax(dim=1))


@torch.inference_mode()
def class_log_probs(
    model: PixelCNN,
    images: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Tensor:
    """log p(x | c) of every image under every class, float64 (N, classes) on the CPU; one forward pass a class.

    Whole batches are divided among the processes, so that the figures are bit for bit those of one.
    """
    if not model.config.conditional:
        raise CheckpointError("this model is unconditional: it has no classes to choose from; train one with a fusion")
    nr_classes = model.config.nr_classes
    rows = [torch.empty(0, nr_classes, dtype=torch.float64)]
    batches = processes.share([images[i : i + batch_size] for i in range(0, len(images), batch_size)])
    done, total = 0, nr_classes * sum(map(len, batches))
    with processes.together(), evaluation_mode(model), exact_float32():
        for batch in (batch.to(model.device) for batch in batches):
            columns = []
            for label in range(nr_classes):
                labels = torch.full((len(batch),), label, device=model.device)
                columns.append(model.log_prob(batch, labels).cpu().double())
                done += len(batch)
                progress(done, total)
            rows.append(torch.stack(columns, dim=1))
    return processes.gather(torch.cat(rows))


def log_prior(config: ModelConfig, prior: Prior) -> Tensor:
    """log p(c), float64 (classes,): "uniform", "training" (the frequencies stored with the model) or given weights.

    Raises:
        ConfigError: a prior of another length, with a negative weight, or that the model does not carry.
    """
    if prior == "uniform":
        weights = torch.ones(config.nr_classes, dtype=torch.float64)
    elif prior == "training":
        if len(config.class_counts) != config.nr_classes:
            raise ConfigError("--prior training: this model does not carry its training frequencies; use uniform")
        weights = torch.tensor(config.class_counts, dtype=torch.float64)
    elif isinstance(prior, str):
        raise ConfigError(f"--prior {prior!r} is not known; use uniform, training, or one number for each class")
    else:
        weights = torch.tensor(list(prior), dtype=torch.float64)
    if len(weights) != config.nr_classes:
        raise ConfigError(f"--prior has {len(weights)} numbers, but the model has {config.nr_classes} classes")
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()) or float(weights.sum()) <= 0:
        raise ConfigError(f"--prior must be numbers of 0 or more with a positive sum, but is {weights.tolist()}")
    return torch.log(weights / weights.sum())
