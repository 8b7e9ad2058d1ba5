"""What a step minimises: bits per dimension, and on request a discriminative term beside it.

The model of the report is purely generative: it maximises log p(x | c) alone. With `discriminative_weight` w,

    loss = mean over the batch of  -log2 p(x | c) / D   +   w * mean over a part of it of  -log p^(c | x)   [nats],

the hybrid of Bishop & Lasserre (2007, "Generative or discriminative?"). For equally likely classes the posterior has
the sum of p(x | c') over all C classes below, of which m wrong ones S are drawn, uniformly and without replacement;
each stands for (C - 1) / m of them, which makes the sum unbiased, and exact for m = C - 1:

    log p^(c | x) = log p(x | c) - log[ p(x | c) + (C - 1)/m * sum_{c' in S} p(x | c') ].

The weight counts a nat of the class against a *bit per dimension* of the image. Both terms in the same units would be
w = 1 / (D ln 2), 0.0005 at 32x32 RGB; with a few times that, the class matters more than its bits do.

With `discriminative_temperature` T every log p in it is divided by T, as a calibration divides them (see
evaluation/calibration.py). A posterior made of thousands of log-probabilities is close to 0 or 1, right or wrong. At
T = 1 the term therefore learns from misjudged images alone, and most from those that it misjudges most; at the T of the
model's calibration it learns from every image near a boundary.

Three things make the difference of two log-probabilities, of thousands of nats each, mean something: it is taken
pixel by pixel and then summed, in float64; the right and the wrong classes of an image see the *same* dropout, since
two masks differ by more than two classes do; and both are scored in batches of the same shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cpixelcnn.config import RunConfig
from cpixelcnn.device import to_device
from cpixelcnn.errors import ConfigError
from cpixelcnn.model.network import pixel_log_probs, sum_over_pixels
from cpixelcnn.randomness import derive_seed, random_words
from cpixelcnn.training.batches import Batch


@dataclass(frozen=True)
class Loss:
    """What is minimised, and the bits per dimension in it (the same without a discriminative term); scalars."""

    total: Tensor
    bits_per_dim: Tensor


class Objective:
    """The loss of a step, as the sum of those of its parts.

    Args:
        config: of the run.
        precision: of the network, float32 or bfloat16; the likelihood is float32.
        device: where the network is.

    Raises:
        ConfigError: a discriminative term where the model has no two classes, or not so many wrong ones.
    """

    def __init__(self, config: RunConfig, precision: str, device: torch.device) -> None:
        check_discriminative(config)
        self.options, self.model_config = config.train, config.model
        self.precision, self.device = precision, device

    def __call__(self, model: nn.Module, part: Batch, step_first: int, step_images: int) -> Loss:
        """What `part` contributes to the loss of its step.

        Args:
            model: a `PixelCNN` in training mode, or what wraps it.
            part: all images of the step, or some neighbours of them.
            step_first: number of the step's first image on the clock.
            step_images: images in the whole step, over which is averaged.
        """
        per_bit = step_images * self.model_config.nr_dimensions * math.log(2)
        if not self.options.discriminative_weight:
            bits_per_dim = -self._log_probs(model, part).sum() / per_bit
            return Loss(bits_per_dim, bits_per_dim)
        fraction = self.options.discriminative_share
        chosen, others = (
            to_device(places, part.images.device) for places in _divided(part.first - step_first, len(part), fraction)
        )
        total = torch.zeros((), device=part.images.device)
        if len(others):
            total = self._log_probs(model, part.at(others)).sum()
        if not len(chosen):
            return Loss(-total / per_bit, -total / per_bit)
        compared = part.at(chosen)
        wrong = wrong_classes(
            compared.labels,
            part.numbers[chosen],
            nr_classes=self.model_config.nr_classes,
            count=self.options.discriminative_classes,
            seed=self.options.seed,
        )
        right = self._log_probs_with_dropout(model, compared)
        # log p(x | c') - log p(x | c) of the drawn classes, (n, m).
        margins = torch.stack(
            [
                sum_over_pixels(self._log_probs_with_dropout(model, compared.labelled(classes)) - right)
                for classes in wrong.unbind(1)
            ],
            dim=1,
        )
        bits_per_dim = -(total + right.sum()) / per_bit
        each_stands_for = (self.model_config.nr_classes - 1) / wrong.shape[1]
        nll = posterior_nll(margins / self.options.discriminative_temperature, each_stands_for).sum() / math.ceil(
            step_images * fraction
        )
        return Loss(bits_per_dim + self.options.discriminative_weight * nll.float(), bits_per_dim)

    def _log_probs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Log-probability of every pixel, (N, H, W)."""
        return pixel_log_probs(
            model, batch.images, batch.labels, orientations=batch.orientations, precision=self.precision
        )

    def _log_probs_with_dropout(self, model: nn.Module, batch: Batch) -> Tensor:
        """The same, with the dropout that belongs to the first number on the clock, whatever the labels."""
        torch.manual_seed(derive_seed(self.options.seed, "discriminative dropout", batch.first))
        return self._log_probs(model, batch)


def posterior_nll(margins: Tensor, each_stands_for: float) -> Tensor:
    """-log p^(c | x) = log[1 + r * sum_j exp(margin_j)], (N,), for margins log p(x | c_j) - log p(x | c), (N, m)."""
    right = torch.zeros_like(margins[:, :1])
    return torch.logsumexp(torch.cat([right, margins + math.log(each_stands_for)], dim=1), dim=1)


def wrong_classes(labels: Tensor, numbers: Tensor, *, nr_classes: int, count: int, seed: int) -> Tensor:
    """`count` different classes other than the label for every image, uniformly at random by its number, (N, count)."""
    classes = torch.arange(nr_classes, device=labels.device)
    words = random_words(derive_seed(seed, "wrong classes"), numbers[:, None] * nr_classes + classes)
    words = torch.where(classes == labels[:, None], torch.iinfo(torch.int64).max, words)  # the label comes last
    return words.argsort(dim=1)[:, :count]


def check_discriminative(config: RunConfig) -> None:
    """Refuse a discriminative term, or an alignment, that there cannot be.

    Raises:
        ConfigError: the model does not know classes, or has too few of them.
    """
    train, model = config.train, config.model
    name = next((name for name in ("discriminative_weight", "alignment_scale") if getattr(train, name)), None)
    if name is None:
        return
    if not model.conditional or model.nr_classes < 2:
        has = f"{model.nr_classes} class" if model.conditional else "no classes (both fusions are none)"
        raise ConfigError(f"`{name}` needs two classes or more to tell apart, but the model has {has}")
    if train.discriminative_weight and train.discriminative_classes > model.nr_classes - 1:
        raise ConfigError(
            f"`discriminative_classes` {train.discriminative_classes} is more than the {model.nr_classes - 1} wrong "
            f"classes that an image has; pass at most {model.nr_classes - 1}"
        )


def _divided(start: int, length: int, fraction: float) -> tuple[Tensor, Tensor]:
    """Places within a part, whose first is at position `start` of its step: a fraction of the step's, and the rest.

    Position i is where ceil(i * fraction) < ceil((i + 1) * fraction): of N ceil(N * fraction), the first always.
    The order of an epoch is random, so these are random images.
    """
    counts = [math.ceil(position * fraction) for position in range(start, start + length + 1)]
    chosen = torch.tensor(counts).diff() > 0
    return torch.nonzero(chosen)[:, 0], torch.nonzero(~chosen)[:, 0]
