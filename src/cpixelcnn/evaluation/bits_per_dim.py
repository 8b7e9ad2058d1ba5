"""Bits per dimension: the length in bits of an ideal code for an image, divided by its number of values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import UNLABELLED
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import DataError, NonFiniteError
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE, class_log_probs, one_class_log_probs
from cpixelcnn.evaluation.priors import Prior, log_prior
from cpixelcnn.model.network import PixelCNN, evaluation_mode
from cpixelcnn.progress import Progress, silent


@dataclass(frozen=True)
class BitsPerDim:
    """Mean code lengths over a set of images.

    Attributes:
        bpd: -log2 p(x | y) / D; None unless the model is conditional and every image labelled.
        bpd_marginal: -log2 p(x) / D, where p(x) = sum_c p(c) p(x | c) (an unconditional model: its likelihood).
        stderr: standard error of the mean of `bpd` (of `bpd_marginal` where that is None); 0 of a single image.
        n_images: how many images.
        per_class: `bpd` of each class's images alone, None for a class without images; empty where `bpd` is None.
    """

    bpd: float | None
    bpd_marginal: float
    stderr: float
    n_images: int
    per_class: tuple[float | None, ...] = ()

    @property
    def gap(self) -> float | None:
        """Marginal less conditional bits/dim: what the class tells of an image, log2(classes) / D at the very most.

        It is that large where every posterior is certain and right, and negative where the class misleads the model.
        """
        return None if self.bpd is None else self.bpd_marginal - self.bpd

    def require_finite(self) -> None:
        """Refuse bits per dimension that are not finite.

        Raises:
            NonFiniteError: the likelihoods of the model overflow.
        """
        if not all(map(math.isfinite, (self.bpd_marginal, self.stderr, self.bpd or 0.0))):
            raise NonFiniteError("the likelihoods of this model are not finite; choose an earlier checkpoint")


def bits_per_dim(
    model: PixelCNN,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    prior: Prior = "uniform",
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> BitsPerDim:
    """Bits per dimension of images, given their classes and without.

    Args:
        model: conditional or not.
        images: uint8 (N, C, H, W).
        labels: class indices (N,) where they are known, -1 for unknown.
        prior: p(c), see `log_prior`.
        batch_size: images computed together; it matters to rounding only.
        processes: those that share the work; each calls this and gets the whole result.
        progress: called with the passes done and their total.

    Raises:
        DataError: no images, images of another shape than the model's, or labels out of range.
        ConfigError: the prior does not suit the model's classes.
    """
    if model.config.conditional:
        log_likelihoods = class_log_probs(model, images, batch_size=batch_size, processes=processes, progress=progress)
        return conditional_bits(model.config, log_likelihoods, labels, prior)
    return _summary(
        model.config,
        unconditional_log_probs(model, images, batch_size=batch_size, processes=processes, progress=progress),
    )


def conditional_bits(config: ModelConfig, log_likelihoods: Tensor, labels: Tensor | None, prior: Prior) -> BitsPerDim:
    """Bits per dimension from the log-likelihoods (N, classes) of every class; the rest as for `bits_per_dim`."""
    marginal = marginal_log_probs(config, log_likelihoods, prior)
    if labels is None:
        return _summary(config, marginal)
    if labels.shape != marginal.shape or bool((labels < UNLABELLED).any() | (labels >= config.nr_classes).any()):
        raise DataError(
            f"labels must be one integer in 0..{config.nr_classes - 1} (or -1, unknown) for each of {len(marginal)} "
            f"images, but are {tuple(labels.shape)} from {_extremes(labels)}; check them"
        )
    if bool((labels == UNLABELLED).any()):
        return _summary(config, marginal)
    labels = labels.cpu()
    return _summary(config, marginal, log_likelihoods.gather(1, labels[:, None])[:, 0], labels)


def marginal_log_probs(config: ModelConfig, log_likelihoods: Tensor, prior: Prior = "uniform") -> Tensor:
    """log p(x) = log sum_c p(c) p(x | c) in nats, (N,), from the log-likelihoods (N, classes) of every class."""
    if len(log_likelihoods) == 0:
        return log_likelihoods.new_empty(0)
    return torch.logsumexp(log_likelihoods + log_prior(config, prior, log_likelihoods), dim=1)


def bits(config: ModelConfig, log_probs: Tensor) -> Tensor:
    """Log-probabilities of whole images in nats, of any shape, as bits per dimension."""
    return log_probs * (-1.0 / (config.nr_dimensions * math.log(2)))


def _extremes(labels: Tensor) -> str:
    return f"{int(labels.min())} to {int(labels.max())}" if labels.numel() else "nothing"


@torch.inference_mode()
def unconditional_log_probs(
    model: PixelCNN,
    images: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Tensor:
    """log p(x) in nats of an unconditional model, float64 (N,) on the CPU; arguments as for `bits_per_dim`."""
    parts = [torch.empty(0, dtype=torch.float64)]
    batches = processes.share([images[i : i + batch_size] for i in range(0, len(images), batch_size)])
    done, total = 0, sum(map(len, batches))
    with processes.together(), evaluation_mode(model):
        for batch in batches:
            parts.append(one_class_log_probs(model, batch.to(model.device), None))
            done += len(batch)
            progress(done, total)
    return processes.gather(torch.cat(parts))


def _summary(
    config: ModelConfig, marginal: Tensor, conditional: Tensor | None = None, labels: Tensor | None = None
) -> BitsPerDim:
    """The means of log-probabilities (N,); labels (N,) go with the conditional ones."""
    if len(marginal) == 0:
        raise DataError("there are no images to score; check the data set and its split")
    scored = bits(config, marginal if conditional is None else conditional)
    n = len(scored)
    stderr = float(scored.std()) / math.sqrt(n) if n > 1 else 0.0
    bpd_marginal = float(marginal.mean()) * (-1.0 / (config.nr_dimensions * math.log(2)))
    if labels is None:
        return BitsPerDim(None, bpd_marginal, stderr, n)
    of_classes = (scored[labels == label] for label in range(config.nr_classes))
    per_class = tuple(float(some.mean()) if len(some) else None for some in of_classes)
    return BitsPerDim(float(scored.mean()), bpd_marginal, stderr, n, per_class)
