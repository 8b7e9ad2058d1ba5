"""Bits per dimension: the length in bits of an ideal code for an image, divided by its number of values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import UNLABELLED
from cpixelcnn.device import exact_float32
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import DataError, NonFiniteError
from cpixelcnn.evaluation.classify import BATCH_SIZE, Prior, class_log_probs, log_prior
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
    """

    bpd: float | None
    bpd_marginal: float
    stderr: float
    n_images: int

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
    """Bits per dimension of images uint8 (N, C, H, W), with labels (N,) where they are known (-1: unknown).

    Of several processes each calls this, computes its share of the batches, and gets the whole result.

    Raises:
        DataError: no images, images of another shape than the model's, or labels out of range.
    """
    if model.config.conditional:
        log_likelihoods = class_log_probs(model, images, batch_size=batch_size, processes=processes, progress=progress)
        return conditional_bits(model.config, log_likelihoods, labels, prior)
    return _summary(model.config, None, _log_probs(model, images, batch_size, processes, progress))


def conditional_bits(config: ModelConfig, log_likelihoods: Tensor, labels: Tensor | None, prior: Prior) -> BitsPerDim:
    """Bits per dimension from the log-likelihoods (N, classes) of every class."""
    marginal = torch.logsumexp(log_likelihoods + log_prior(config, prior), dim=1)
    if labels is None:
        return _summary(config, None, marginal)
    if labels.shape != marginal.shape or bool((labels < UNLABELLED).any() | (labels >= config.nr_classes).any()):
        raise DataError(
            f"labels must be one integer in 0..{config.nr_classes - 1} (or -1, unknown) for each of {len(marginal)} "
            f"images, but are {tuple(labels.shape)} from {_extremes(labels)}; check them"
        )
    if bool((labels == UNLABELLED).any()):
        return _summary(config, None, marginal)
    return _summary(config, log_likelihoods.gather(1, labels.cpu()[:, None])[:, 0], marginal)


def _extremes(labels: Tensor) -> str:
    return f"{int(labels.min())} to {int(labels.max())}" if labels.numel() else "nothing"


@torch.inference_mode()
def _log_probs(model: PixelCNN, images: Tensor, batch_size: int, processes: Processes, progress: Progress) -> Tensor:
    """log p(x) of an unconditional model, float64 (N,) on the CPU."""
    parts = [torch.empty(0, dtype=torch.float64)]
    batches = processes.share([images[i : i + batch_size] for i in range(0, len(images), batch_size)])
    done, total = 0, sum(map(len, batches))
    with processes.together(), evaluation_mode(model), exact_float32():
        for batch in batches:
            parts.append(model.log_prob(batch.to(model.device)).cpu().double())
            done += len(batch)
            progress(done, total)
    return processes.gather(torch.cat(parts))


def _summary(config: ModelConfig, conditional: Tensor | None, marginal: Tensor) -> BitsPerDim:
    if len(marginal) == 0:
        raise DataError("there are no images to score; check the data set and its split")
    per_bit = -1.0 / (config.nr_dimensions * math.log(2))
    scored = (marginal if conditional is None else conditional) * per_bit
    n = len(scored)
    stderr = float(scored.std()) / math.sqrt(n) if n > 1 else 0.0
    bpd = None if conditional is None else float(scored.mean())
    return BitsPerDim(bpd, float(marginal.mean()) * per_bit, stderr, n)
