"""Weight normalisation,  w = g * v / ||v||  (Salimans & Kingma 2016, arXiv 1602.07868, equation 2), and its gradient:

    dg = dw . v / ||v||,      dv = g / ||v|| * (dw - (dw . v / ||v||) v / ||v||)          (equation 3),

where norm and products are taken over everything but the output channel. That is a third of the passes over the weights
that the formula costs operation by operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cpixelcnn.model.fused import applicable, first_order_only


def weight_norm(v: Tensor, g: Tensor, axis: int = 0, scale: float = 1.0) -> Tensor:
    """scale * g * v / ||v||  of a convolution's v, the output channels of which lie along `axis`; g (F,)."""
    if not applicable():
        return v * _norm_and_factor(v, g, axis, scale)[1]
    weight: Tensor = _WeightNorm.apply(v, g, axis, scale)
    return weight


class _WeightNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, g: Tensor, axis: int, scale: float) -> Tensor:
        norm, factor = _norm_and_factor(v, g, axis, scale)
        ctx.save_for_backward(v, norm, factor)
        ctx.axis, ctx.scale = axis, scale
        return v * factor

    @staticmethod
    @first_order_only
    def backward(ctx: Any, dw: Tensor) -> tuple[Tensor, Tensor, None, None]:
        v, norm, factor = ctx.saved_tensors
        along = (dw * v).sum(_others(ctx.axis), keepdim=True) / norm
        dv = torch.addcmul(dw, v, along / norm, value=-1.0).mul_(factor)
        return dv, (ctx.scale * along).flatten(), None, None


def _norm_and_factor(v: Tensor, g: Tensor, axis: int, scale: float) -> tuple[Tensor, Tensor]:
    norm: Tensor = torch.linalg.vector_norm(v, dim=_others(axis), keepdim=True)
    return norm, (scale * g).view_as(norm) / norm


def _others(axis: int) -> tuple[int, ...]:
    return tuple(dim for dim in range(4) if dim != axis)
