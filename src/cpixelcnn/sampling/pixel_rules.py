"""How the value of a pixel is chosen from the mixture parameters: by the model's distribution, tempered, or guided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cpixelcnn.device import widest_float
from cpixelcnn.errors import ConfigError
from cpixelcnn.model.mixture import DiscretizedLogisticMixture


class PixelSampler(Protocol):
    """Chooses values; may remember what was chosen before it in the same image."""

    def begin(self, labels: Tensor | None) -> list[Tensor | None]:
        """New images of these classes (N,) begin; returns the classes under which each predictor shall predict."""

    def choose(self, parameters: Sequence[Tensor], noise: Tensor) -> Tensor:
        """Values uint8 (N, C) of one pixel, from each predictor's parameters and uniform noise (N, C + 1)."""

    def observe(self, parameters: Sequence[Tensor], values: Tensor) -> None:
        """The values uint8 (N, C) of this pixel are given."""


class Temperature:
    """Temperatures of the mixture's choice and of the logistics' scales:  w_k^(1/T) renormalised, and  T s_k.

    At 1 and 1 this is the model. Elsewhere it is not the model's distribution any more, nor any power of it (the
    temperature of a *sequence* would need the normaliser of all that follows): lower values give likelier, smoother
    pixels, and images of less variety.
    """

    def __init__(self, mixture: float = 1.0, scale: float = 1.0) -> None:
        self.mixture, self.scale = mixture, scale

    def pixel(self, parameters: Tensor, image_channels: int) -> DiscretizedLogisticMixture:
        """The tempered mixture at one pixel, from parameters (N, P)."""
        mixture = DiscretizedLogisticMixture(parameters[:, :, None, None], image_channels)
        return mixture.tempered(self.mixture, self.scale)


class MixtureSampler:
    """The distribution of the (tempered) mixture itself: its component, then each channel, from the noise.

    Args:
        image_channels: 1 or 3.
        temperature: of the mixture.
    """

    def __init__(self, image_channels: int, temperature: Temperature) -> None:
        self.image_channels = image_channels
        self.temperature = temperature

    def begin(self, labels: Tensor | None) -> list[Tensor | None]:
        return [labels]

    def choose(self, parameters: Sequence[Tensor], noise: Tensor) -> Tensor:
        (ours,) = parameters
        return self.temperature.pixel(ours, self.image_channels).sample(noise[:, :, None, None])[:, :, 0, 0]

    def observe(self, parameters: Sequence[Tensor], values: Tensor) -> None: ...


class GuidedSampler:
    """Label guidance on the 256 probabilities of each value, given everything before it:

        q(x_i) = p(x_i | x_<i, c)^(1 + w) / p(x_i | x_<i)^w / Z,

    the classifier-free guidance of Ho & Salimans 2022 (arXiv:2207.12598, equation 6, there for scores) where it can be
    normalised exactly, Z being a sum of 256 terms. At w = 0 this is the model; larger weights prefer what tells the
    class from the others. The product of these conditionals is not the model's distribution, nor
    p(x | c)^(1 + w) / p(x)^w of whole images.

    The marginal p(x_i | x_<i) is that of an unconditional model, whose predictor comes second, or else the mixture over
    the classes, sum_c p(c | x_<i) p(x_i | x_<i, c) with a uniform prior: then the one predictor predicts every image
    under every class, and this object keeps log p(c | x_<i).

    Args:
        image_channels: 1 or 3.
        temperature: of each mixture.
        weight: w.
        n: images of a batch.
        nr_classes: classes that the marginal is a mixture over; 0 where it is an unconditional model.
        device: where the parameters are.
    """

    def __init__(
        self,
        image_channels: int,
        temperature: Temperature,
        weight: float,
        n: int,
        nr_classes: int,
        device: torch.device,
    ) -> None:
        self.image_channels, self.temperature, self.weight = image_channels, temperature, weight
        self.n, self.nr_classes = n, nr_classes
        self.labels = torch.zeros(n, dtype=torch.int64, device=device)
        self.log_posterior = torch.zeros(n, nr_classes, device=device)  # log p(c | x_<i) + constant

    def begin(self, labels: Tensor | None) -> list[Tensor | None]:
        if labels is None:
            raise ConfigError("guidance needs the class of every image")
        self.labels.copy_(labels)
        self.log_posterior.zero_()
        if self.nr_classes == 0:
            return [labels, None]
        return [torch.arange(self.nr_classes, device=labels.device).repeat(self.n)]

    def choose(self, parameters: Sequence[Tensor], noise: Tensor) -> Tensor:
        mixtures = [self.temperature.pixel(each, self.image_channels) for each in parameters]
        values = torch.zeros(self.n, self.image_channels, dtype=torch.uint8, device=noise.device)
        for channel in range(self.image_channels):
            log_probs = [self._value_log_probs(mixture, channel, values) for mixture in mixtures]
            guided = self._guided(log_probs)
            values[:, channel] = _invert(guided, noise[:, channel + 1])
            self._update(log_probs, values[:, channel])
        return values

    def observe(self, parameters: Sequence[Tensor], values: Tensor) -> None:
        if self.nr_classes == 0:
            return
        mixture = self.temperature.pixel(parameters[0], self.image_channels)
        repeated = values.repeat_interleave(self.nr_classes, 0)[:, :, None, None]
        self.log_posterior += mixture.log_prob(repeated).view(self.n, self.nr_classes)

    def _value_log_probs(self, mixture: DiscretizedLogisticMixture, channel: int, values: Tensor) -> Tensor:
        """log p(v) of a channel's values, (N, 1, 256), or (N, classes, 256) where every class is predicted."""
        repeated = values.repeat_interleave(len(mixture.means) // self.n, 0)[:, :, None, None]
        return mixture.value_log_probs(channel, repeated)[:, :, 0, 0].view(self.n, -1, 256)

    def _guided(self, log_probs: Sequence[Tensor]) -> Tensor:
        """log q(v), (N, 256)."""
        if self.nr_classes == 0:
            conditional, marginal = (each[:, 0] for each in log_probs)
        else:
            (of_classes,) = log_probs
            conditional = of_classes.gather(1, self.labels[:, None, None].expand(-1, 1, 256))[:, 0]
            log_posterior = F.log_softmax(self.log_posterior, dim=1)
            marginal = torch.logsumexp(log_posterior[:, :, None] + of_classes, dim=1)
        return F.log_softmax((1.0 + self.weight) * conditional - self.weight * marginal, dim=1)

    def _update(self, log_probs: Sequence[Tensor], value: Tensor) -> None:
        if self.nr_classes > 0:
            index = value.long()[:, None, None].expand(-1, self.nr_classes, 1)
            self.log_posterior += log_probs[0].gather(2, index)[:, :, 0]


def _invert(log_probs: Tensor, noise: Tensor) -> Tensor:
    """The value whose interval of the cumulative probabilities (N, 256) holds the noise (N,): uint8 (N,)."""
    precision = widest_float(noise.device)
    cumulative = log_probs.to(precision).exp().cumsum(dim=1)
    value = (noise.to(precision)[:, None] * cumulative[:, -1:] >= cumulative).sum(dim=1)
    return value.clamp(max=255).to(torch.uint8)
