"""The gated residual block without gradients, for images of one class: what log-likelihoods of many images are made of.

Weight normalisation and the class modulation are multiplied into the weights once,

    gamma * (W z + b) + beta = (gamma W) z + (gamma b + beta),

and activations are written straight into the padded input of the convolution that reads them. They stand there as
elu(x) and the even function  |x|_elu = elu(x) + elu(-x) = |x| + exp(-|x|) - 1,  which takes fewer operations:

    W_1 elu(x) + W_2 elu(-x) = (W_1 - W_2) elu(x) + W_2 |x|_elu.

The results differ from the definition's by rounding only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from cpixelcnn.device import network_precision
from cpixelcnn.model.fused.convolution import Padding
from cpixelcnn.model.fused.sharing import once_per_pass

if TYPE_CHECKING:
    from cpixelcnn.model.layers import GatedResidualBlock
    from cpixelcnn.model.network import PixelCNN

_PADDING_OF_U: Padding = (1, 1, 1, 0)  # the stream that ul receives before u itself goes on


@contextmanager
def folded_for_class(model: PixelCNN, label: int | None) -> Iterator[None]:
    """While open, `model` computes faster on a CPU, but without gradients and for images of this class only.

    A model whose class overrides `forward` is left as it is, since it may do other things with the class.

    Args:
        model: in evaluation mode; its weights must not change meanwhile.
        label: index of the class, None for an unconditional model.
    """
    from cpixelcnn.model.layers import GatedResidualBlock

    if model.device.type != "cpu" or model.overrides_forward:
        yield
        return
    blocks = [module for module in model.modules() if isinstance(module, GatedResidualBlock)]
    with torch.no_grad(), network_precision("float32", model.device):
        embedding = None
        if model.class_embedding is not None:
            embedding = model.class_embedding(torch.tensor([label], device=model.device))
        for block in blocks:
            block.folded = FoldedBlock(block, embedding)
    try:
        yield
    finally:
        for block in blocks:
            block.folded = None


class FoldedBlock:
    """What `GatedResidualBlock.forward` computes for one class, from (N, F, H, W) and the skips to (N, F, H, W)."""

    def __init__(self, block: GatedResidualBlock, class_embedding: Tensor | None) -> None:
        self.padding = block.conv_in.padding
        self.weight_in = _of_even_basis(block.conv_in.weight())
        self.bias_in: Tensor = block.conv_in.b
        self.skips: list[Tensor] = []  # (2F, F) of each skip input
        if block.skip is not None:
            self.bias_in = self.bias_in + block.skip.b
            nr_filters = len(block.conv_in.b)
            positive, negative = (torch.split(half, nr_filters, dim=1) for half in block.skip.weight().chunk(2, dim=1))
            for halves in zip(positive, negative, strict=True):
                self.skips.append(_of_even_basis(torch.cat(halves, dim=1))[:, :, 0, 0].T.contiguous())
        weight_out = block.conv_out.weight()
        bias_out: Tensor = block.conv_out.b
        if block.film is not None:
            assert class_embedding is not None
            gamma, beta = block.film.gamma_beta(class_embedding)
            weight_out, bias_out = weight_out * gamma.view(-1, 1, 1, 1), bias_out * gamma.flatten() + beta.flatten()
        self.weight_out, self.bias_out = _of_even_basis(weight_out), bias_out

    def __call__(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        h = F.conv2d(_padded_activation(x, self.padding), self.weight_in, self.bias_in)
        height, width = h.shape[2:]
        for skip, matrix in zip(skips, self.skips, strict=True):
            e = _padded_activation(skip, _PADDING_OF_U).permute(0, 2, 3, 1)
            product = (e.reshape(-1, e.shape[3]) @ matrix).view(*e.shape[:3], -1)
            h += product[:, -height:, 1 : 1 + width].permute(0, 3, 1, 2)
        o = F.conv2d(_padded_activation(h, self.padding), self.weight_out, self.bias_out)
        # Operations on halves of the channels are slow: each half gets memory of its own first.
        a, b = (half.clone(memory_format=torch.channels_last) for half in o.chunk(2, dim=1))
        return torch.addcmul(x, a, b.sigmoid_())


def _of_even_basis(weight: Tensor) -> Tensor:
    """A weight for [elu(x), elu(-x)] as that for [elu(x), |x|_elu]."""
    positive, negative = weight.chunk(2, dim=1)
    return torch.cat([positive - negative, negative], dim=1).contiguous(memory_format=torch.channels_last)


@once_per_pass
def _padded_activation(x: Tensor, padding: Padding) -> Tensor:
    """elu(x) and |x|_elu side by side with zeros around them, (N, C, H, W) -> (N, 2C, padded H, padded W).

    Within a pass it is computed once, with the padding of the first that asks: the convolution of x's own stream. A
    block that reads x as a skip cuts the padding off: one row above, one column on the left, none below in any case.
    """
    n, channels, height, width = x.shape
    left, right, top, bottom = padding
    size = (n, 2 * channels, top + height + bottom, left + width + right)
    result = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for axis, before, length, after in ((2, top, height, bottom), (3, left, width, right)):
        if before:
            result.narrow(axis, 0, before).zero_()
        if after:
            result.narrow(axis, before + length, after).zero_()
    inside = result[:, :, top : top + height, left : left + width]
    below = x.abs().neg_()
    p = below.exp().sub_(1.0)  # torch's expm1 takes eight times as long, and is more exact only below rounding
    torch.maximum(x, p, out=inside[:, :channels])
    torch.sub(p, below, out=inside[:, channels:])
    return result
