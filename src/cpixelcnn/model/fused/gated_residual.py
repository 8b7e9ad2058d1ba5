"""The gated residual block as one node of the autograd graph, which keeps little and computes the rest again.

    h = conv_in(e) + sum_s nin_s(e_s) + biases      e, e_s: concat_elu of the block's input and of its skip inputs
    o = conv_out(dropout(concat_elu(h)))
    y = x + a * sigmoid(b),    [a, b] = gamma * o + beta

Built from torch's own operations, each of them would keep its operands: padded copies, concatenations, masked and
modulated activations. Kept here are e and e_s (once for all that use them), the input of conv_out, the dropout mask (a
byte an element) and o. The gradient is the chain rule, written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cpixelcnn.model.fused import first_order_only
from cpixelcnn.model.fused.convolution import (
    NO_PADDING,
    Padding,
    convolution_gradients,
    layout,
    padded,
    without_padding,
)
from cpixelcnn.model.fused.sharing import once_per_pass

if TYPE_CHECKING:
    from cpixelcnn.model.layers import GatedResidualBlock


def gated_residual(
    block: GatedResidualBlock, x: Tensor, skips: Sequence[Tensor], class_embedding: Tensor | None
) -> Tensor:
    """What `GatedResidualBlock.forward` computes, (N, F, H, W), from the same arguments."""
    if block.folded is not None and not torch.is_grad_enabled():
        return block.folded(x, skips)
    activated = shared_concat_elu(x)
    precision = activated.dtype
    gamma = beta = None
    if block.film is not None:
        assert class_embedding is not None
        gamma, beta = (each.to(precision) for each in block.film.gamma_beta(class_embedding))
    bias_in: Tensor = block.conv_in.b
    pairs: list[Tensor] = []
    if block.skip is not None:
        bias_in = bias_in + block.skip.b
        # The weight's inputs are concat_elu of all skips side by side: elu of all of them, then of their negatives.
        channels = [skip.shape[1] for skip in skips]
        positive, negative = (torch.split(half, channels, dim=1) for half in block.skip.weight().chunk(2, dim=1))
        for skip, *halves in zip(skips, positive, negative, strict=True):
            pairs += [shared_concat_elu(skip), torch.cat(halves, dim=1).to(precision)]
    mask = block.dropout.mask(activated)
    weight_out = block.conv_out.weight(1.0 if mask is None else block.dropout.scale)
    y: Tensor = _GatedResidual.apply(
        block.conv_in.padding,
        mask,
        x,
        activated,
        block.conv_in.weight().to(precision),
        bias_in.to(precision),
        weight_out.to(precision),
        block.conv_out.b.to(precision),
        gamma,
        beta,
        *pairs,
    )
    return y


@once_per_pass
def shared_concat_elu(x: Tensor) -> Tensor:
    """concat_elu(x), (N, 2C, H, W)."""
    activated: Tensor = _ConcatELU.apply(x)
    return activated


class _ConcatELU(torch.autograd.Function):
    """elu of x and of -x, side by side, (N, C, H, W) -> (N, 2C, H, W); keeps its result alone.

    With p = exp(-|x|) - 1 both are a maximum, elu(x) = max(x, p) and elu(-x) = max(-x, p): one exponential for the two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        activated = _concat_elu(x)
        ctx.save_for_backward(activated)
        return activated

    @staticmethod
    @first_order_only
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (activated,) = ctx.saved_tensors
        return _concat_elu_backward(gradient, activated)


class _GatedResidual(torch.autograd.Function):
    """The block of the module's equations.

    forward(padding, mask, x, e, weight_in, bias_in, weight_out, bias_out, gamma, beta, *skips):
        padding: of both convolutions.
        mask: what the dropout multiplies by, of 0 and 1, (N, 2F, H, W), or None (the scale of what it keeps belongs to
            weight_out).
        x (N, F, H, W), e (N, 2F, H, W); gamma and beta (N, 2F, 1, 1) or None.
        skips: e_s and the weight of its 1 x 1 convolution, in turn, the biases of which belong to bias_in.

    Returns y (N, F, H, W).
    """

    @staticmethod
    def forward(ctx: Any, padding: Padding, mask: Tensor | None, *tensors: Any) -> Tensor:
        x, activated, weight_in, bias_in, weight_out, bias_out, gamma, beta, *skips = tensors
        h = F.conv2d(padded(activated, padding), weight_in, bias_in)
        for activated_skip, weight_skip in zip(skips[::2], skips[1::2], strict=True):
            h += F.conv2d(activated_skip, weight_skip)
        inputs_out = padded(_concat_elu(h), padding, mask)
        o = F.conv2d(inputs_out, weight_out, bias_out)
        ctx.save_for_backward(activated, weight_in, weight_out, gamma, beta, mask, inputs_out, o, *skips)
        ctx.padding = padding
        a, gate = _value_and_gate(_modulated(o, gamma, beta))
        return torch.addcmul(x, a, gate)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        activated, weight_in, weight_out, gamma, beta, mask, inputs_out, o, *skips = ctx.saved_tensors
        # y = x + a * sigmoid(b)
        a, gate = _value_and_gate(_modulated(o, gamma, beta))
        do = torch.empty_like(o)
        da, db = do.chunk(2, dim=1)
        torch.mul(dy, gate, out=da)
        torch.mul(torch.addcmul(da, da, gate, value=-1.0), a, out=db)
        # [a, b] = gamma * o + beta
        sums, dgamma, dbeta = do.sum((2, 3), keepdim=True), None, None
        if gamma is not None:
            dgamma, dbeta = (do * o).sum((2, 3), keepdim=True), sums
            sums = gamma * sums
        dbias_out = sums.sum((0, 2, 3))
        # o = conv_out(dropout(concat_elu(h)))
        dropped, dweight_out = convolution_gradients(do, inputs_out, weight_out, ctx.padding, gamma)
        # Where dropout left a zero in the place of an activation, the gradient is zero too.
        dh = _concat_elu_backward(dropped if mask is None else dropped * mask, without_padding(inputs_out, ctx.padding))
        # h = conv_in(e) + sum_s nin_s(e_s)
        inputs_in = padded(activated, ctx.padding)
        dactivated, dweight_in = convolution_gradients(dh, inputs_in, weight_in, ctx.padding)
        dbias_in = dh.sum((0, 2, 3))
        dskips: list[Tensor | None] = []
        for activated_skip, weight_skip in zip(skips[::2], skips[1::2], strict=True):
            dskips += convolution_gradients(dh, activated_skip, weight_skip, NO_PADDING)
        return None, None, dy, dactivated, dweight_in, dbias_in, dweight_out, dbias_out, dgamma, dbeta, *dskips


def _concat_elu(x: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    p = x.abs().neg_().expm1_()
    size = (n, 2 * channels, height, width)
    activated = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout(x))
    torch.maximum(x, p, out=activated[:, :channels])
    torch.maximum(-x, p, out=activated[:, channels:])
    return activated


def _concat_elu_backward(gradient: Tensor, activated: Tensor) -> Tensor:
    """The gradient of x, from that of concat_elu(x) and concat_elu(x) itself."""
    both = torch.ops.aten.elu_backward(gradient, 1.0, 1.0, 1.0, True, activated)
    positive, negative = both.chunk(2, dim=1)
    x_gradient: Tensor = positive - negative
    return x_gradient


def _modulated(o: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
    """gamma * o + beta; in bfloat16 on a CPU two operations are faster than one."""
    if gamma is None or beta is None:
        return o
    return (gamma * o).add_(beta) if o.dtype == torch.bfloat16 else torch.addcmul(beta, gamma, o)


def _value_and_gate(o: Tensor) -> tuple[Tensor, Tensor]:
    """a (a view) and sigmoid(b) of [a, b]; on a copy of its own the function is several times faster than on a view."""
    a, b = o.chunk(2, dim=1)
    return a, b.clone(memory_format=layout(o)).sigmoid_()
