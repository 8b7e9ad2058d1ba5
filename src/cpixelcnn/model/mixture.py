"""The discretized mixture of logistics (Salimans et al. 2017, arXiv 1701.05517, sections 2.1, 2.2).

A pixel value v in {0, ..., 255} is mapped to x = v / 127.5 - 1 in [-1, 1]; its bin reaches h = 1 / 255 to either
side, and the first and the last bin extend to infinity. A logistic with mean mu and scale s puts into the bin of x

    P(x) = sigmoid(a) - sigmoid(b),      a = (x + h - mu) / s,      b = (x - h - mu) / s.

Its logarithm is computed in the exact and stable form

    log P(x) = log sigmoid(a) + log sigmoid(-b) + log(1 - exp(-(a - b))),                                            (*)

where the second and third term fall away for the first bin and the first and third for the last. No threshold, no
approximation by the density, and nothing that overflows. The 256 probabilities sum to one up to the rounding of their
parameters, which the division by s magnifies: in float32 to within 2e-5 at the smallest scale, 2e-6 from s = 0.01 on.

The three channels share the mixture indicator; within a component the mean of G depends on R, and that of B on R and G:

    mu_G + alpha * R,      mu_B + beta * R + gamma * G.
"""

from __future__ import annotations

import copy
import math
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cpixelcnn.model import fused

NR_VALUES = 256
HALF_BIN = 1.0 / 255.0
LOG_SCALE_RANGE = (-7.0, 20.0)  # the original's lower clamp; the upper one only keeps an absurd scale finite
PARAMETERS_PER_COMPONENT = {1: 3, 3: 10}  # indicator, mean and log-scale a channel, three coefficients for RGB
_NUMBERS_AT_ONCE = 2**20


def scale_pixels(values: Tensor) -> Tensor:
    """8-bit values v to x = v / 127.5 - 1 in [-1, 1], of any shape; integers become float32, floats keep their type."""
    return (values if values.is_floating_point() else values.float()) / 127.5 - 1.0


def quantize(x: Tensor) -> Tensor:
    """The nearest 8-bit value of numbers in [-1, 1], as a float; what lies outside goes to the first or last value."""
    return ((x + 1.0) * 127.5).round_().clamp_(0.0, 255.0)


class DiscretizedLogisticMixture:
    """The distribution of images whose pixels are independent *given* the mixture parameters at each pixel.

    In an autoregressive model those parameters at a pixel are a function of the pixels before it, so that `log_prob`
    of the image that the parameters were computed from is the model's log-likelihood.

    Args:
        parameters: network output, (N, 10K, H, W) for three channels or (N, 3K, H, W) for one; computed on in float32
            or better whatever its precision.
        image_channels: 1 or 3.

    Raises:
        KeyError: a number of channels other than 1 and 3.

    Attributes:
        log_weights: log mixture weights, (N, K, H, W).
        means, log_scales: (N, C, K, H, W).
        coefficients: alpha, beta, gamma in (-1, 1), (N, 3, K, H, W); None for one channel.
    """

    def __init__(self, parameters: Tensor, image_channels: int) -> None:
        parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32)).contiguous()
        n, size, height, width = parameters.shape
        k = size // PARAMETERS_PER_COMPONENT[image_channels]
        self.image_channels = image_channels
        self.log_weights = F.log_softmax(parameters[:, :k], dim=1)
        kinds = parameters[:, k:].view(n, PARAMETERS_PER_COMPONENT[image_channels] - 1, k, height, width)
        self.means = kinds[:, :image_channels]
        self.log_scales = kinds[:, image_channels : 2 * image_channels].clamp(*LOG_SCALE_RANGE)
        self.coefficients = torch.tanh(kinds[:, 2 * image_channels :]) if image_channels == 3 else None

    @cached_property
    def inverse_scales(self) -> Tensor:
        """1 / s, (N, C, K, H, W)."""
        return torch.exp(-self.log_scales)

    def conditional_mean(self, channel: int, x: Tensor) -> Tensor:
        """Means (N, K, H, W) of one channel, given the channels before it of x (N, C, H, W) in [-1, 1]."""
        mean = self.means[:, channel]
        if channel == 0:
            return mean
        assert self.coefficients is not None
        alpha, beta, gamma = self.coefficients.unbind(1)
        if channel == 1:
            return mean + alpha * x[:, None, 0]
        return mean + beta * x[:, None, 0] + gamma * x[:, None, 1]

    def log_prob(self, images: Tensor) -> Tensor:
        """Log-probability in nats of every pixel (its channels together), (N, H, W), for images uint8 (N, C, H, W)."""
        return torch.logsumexp(self.log_weights + self._component_log_prob(images, self.image_channels), dim=1)

    def channel_log_probs(self, images: Tensor) -> Tensor:
        """Log-probability in nats of every value, given the channels before it of its pixel; they sum to `log_prob`.

        Args:
            images: uint8 (N, C, H, W).

        Returns:
            (N, C, H, W).
        """
        up_to = [self.log_weights + self._component_log_prob(images, n + 1) for n in range(self.image_channels)]
        together = torch.stack([torch.logsumexp(each, dim=1) for each in up_to], dim=1)
        return together.diff(dim=1, prepend=torch.zeros_like(together[:, :1]))

    def value_log_probs(self, channel: int, images: Tensor) -> Tensor:
        """Log-probabilities (N, 256, H, W) of the 256 values of one channel, given the channels before it of `images`.

        log p(x_c = v | x_<c) = logsumexp_k [ log p(k | x_<c) + log P_k(v | x_<c) ]; images is uint8 (N, C, H, W).
        """
        posterior = F.log_softmax(self.log_weights + self._component_log_prob(images, channel), dim=1)
        mean = self.conditional_mean(channel, scale_pixels(images.to(self.means.dtype)))
        inverse_scale = self.inverse_scales[:, channel]
        values = scale_pixels(torch.arange(NR_VALUES, device=images.device, dtype=self.means.dtype))
        # All values at once would need 256 K numbers a pixel: as many as fit into a few megabytes.
        together = min(NR_VALUES, max(1, _NUMBERS_AT_ONCE // mean.numel()))
        pieces = []
        for some in torch.split(values, together):
            log_bin = _log_bin(some.view(-1, 1, 1, 1, 1), mean, inverse_scale)  # (values, N, K, H, W)
            pieces.append(torch.logsumexp(posterior + log_bin, dim=2))
        return torch.cat(pieces).transpose(0, 1)

    def tempered(self, mixture: float, scale: float) -> DiscretizedLogisticMixture:
        """Another mixture: weights raised to the power 1 / mixture and renormalised, scales times `scale`."""
        if mixture == 1.0 and scale == 1.0:
            return self
        other = copy.copy(self)
        vars(other).pop("inverse_scales", None)
        other.log_weights = F.log_softmax(self.log_weights / mixture, dim=1)
        other.log_scales = self.log_scales + math.log(scale)
        return other

    def sample(self, noise: Tensor) -> Tensor:
        """An image uint8 (N, C, H, W) from uniform noise in [0, 1), (N, C + 1, H, W).

        The first number of a pixel chooses the component (by inverting the cumulative weights), each further one a
        channel (by inverting the logistic's distribution function). Each channel is rounded to the 8-bit grid before
        the next one depends on it, which makes this the exact inverse of `log_prob`.
        """
        noise = noise.to(self.means.dtype)
        cumulative = self.log_weights.exp().cumsum(dim=1)
        component = (noise[:, :1] * cumulative[:, -1:] >= cumulative).sum(dim=1, keepdim=True)
        component = component.clamp_(max=cumulative.shape[1] - 1)[:, None]
        means, scales = _chosen(self.means, component), _chosen(self.log_scales, component).exp_()
        deviations = scales * torch.logit(noise[:, 1:])  # log u - log(1 - u); u = 0 gives -inf, the first bin
        values = [quantize(means[:, 0] + deviations[:, 0])]
        if self.coefficients is not None:
            alpha, beta, gamma = _chosen(self.coefficients, component).unbind(1)
            red = scale_pixels(values[0])
            values.append(quantize(means[:, 1] + alpha * red + deviations[:, 1]))
            green = scale_pixels(values[1])
            values.append(quantize(means[:, 2] + beta * red + gamma * green + deviations[:, 2]))
        return torch.stack(values, dim=1).to(torch.uint8)

    def _component_log_prob(self, images: Tensor, channels: int) -> Tensor | float:
        """Log-probability (N, K, H, W) under each component of the first `channels` channels; 0 of none."""
        x = scale_pixels(images.to(self.means.dtype))
        total: Tensor | float = 0.0
        for channel in range(channels):
            mean, inverse_scale = self.conditional_mean(channel, x), self.inverse_scales[:, channel]
            log_bin = _LogBin.apply if fused.applicable() else _log_bin  # the same, but for what the gradient costs
            total = total + log_bin(x[:, channel : channel + 1], mean, inverse_scale)
        return total


def _log_bin(x: Tensor, mean: Tensor, inverse_scale: Tensor) -> Tensor:
    """Equation (*): log-probability of the bins of x in [-1, 1], (N, 1, H, W), under logistics (N, K, H, W)."""
    centred = x - mean
    a = (centred + HALF_BIN) * inverse_scale
    b = (centred - HALF_BIN) * inverse_scale
    log_below_a = F.logsigmoid(a)
    log_above_b = F.logsigmoid(-b)
    log_width = torch.log(-torch.expm1(-2.0 * HALF_BIN * inverse_scale))
    inner = log_below_a + log_above_b + log_width
    return torch.where(x == -1.0, log_below_a, torch.where(x == 1.0, log_above_b, inner))


class _LogBin(torch.autograd.Function):
    """Equation (*) with its gradient written out, which keeps nothing but what goes in:

        d log P / d mu    = (sigmoid(b) - sigmoid(-a)) / s,
        d log P / d (1/s) = (x + h - mu) sigmoid(-a) - (x - h - mu) sigmoid(b) + 2 h / (exp(2 h / s) - 1),

    without sigmoid(b) and the last term in the first bin, without sigmoid(-a) and the last term in the last one. It is
    made of differentiable operations, so that second derivatives are right as well.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, inverse_scale: Tensor) -> Tensor:
        """x in [-1, 1] (N, 1, H, W), mean and 1 / s (N, K, H, W) -> (N, K, H, W); x gets no gradient."""
        ctx.save_for_backward(x, mean, inverse_scale)
        return _log_bin(x, mean, inverse_scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        x, mean, inverse_scale = ctx.saved_tensors
        first, last = x == -1.0, x == 1.0
        centred = x - mean
        below = torch.sigmoid(-(centred + HALF_BIN) * inverse_scale)
        above = torch.sigmoid((centred - HALF_BIN) * inverse_scale)
        width = 2.0 * HALF_BIN / torch.expm1(2.0 * HALF_BIN * inverse_scale)
        # In place, unless this is to be differentiated once more.
        fill = Tensor.masked_fill if torch.is_grad_enabled() else Tensor.masked_fill_
        below, above, width = fill(below, last, 0.0), fill(above, first, 0.0), fill(width, first | last, 0.0)
        of_scale = (centred + HALF_BIN) * below - (centred - HALF_BIN) * above + width
        return None, gradient * inverse_scale * (above - below), gradient * of_scale


def _chosen(parameters: Tensor, component: Tensor) -> Tensor:
    """Parameters (N, kinds, K, H, W) of the component (N, 1, 1, H, W) chosen at each pixel: (N, kinds, H, W)."""
    return parameters.gather(2, component.expand(-1, parameters.shape[1], -1, -1, -1))[:, :, 0]
