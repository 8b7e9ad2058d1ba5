"""PixelCNN++ as one would write it from the paper, with torch's own modules: the baseline of benchmarks/training.py.

float32, eager, weight norm as torch's parametrization, dropout as torch's module, and the textbook likelihood
(differences of sigmoids with a floor, and the density where they vanish). Unconditional, as the paper's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Padding = tuple[int, int, int, int]
DOWN, DOWN_RIGHT = ((2, 3), (1, 1, 1, 0)), ((2, 2), (1, 0, 1, 0))  # kernel; padding left, right, top, bottom


def concat_elu(x: Tensor) -> Tensor:
    return F.elu(torch.cat([x, -x], dim=1))


class ShiftedConv(nn.Module):
    def __init__(self, ins: int, outs: int, kind: tuple[tuple[int, int], Padding], stride: int = 1) -> None:
        super().__init__()
        self.padding = nn.ZeroPad2d(kind[1])
        self.conv = weight_norm(nn.Conv2d(ins, outs, kind[0], stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.padding(x))


class Block(nn.Module):
    def __init__(self, filters: int, skip: int, kind: tuple[tuple[int, int], Padding]) -> None:
        super().__init__()
        self.conv_in = ShiftedConv(2 * filters, filters, kind)
        self.nin = weight_norm(nn.Conv2d(2 * skip, filters, 1)) if skip else None
        self.dropout = nn.Dropout(0.5)
        self.conv_out = ShiftedConv(2 * filters, 2 * filters, kind)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        h = self.conv_in(concat_elu(x))
        if self.nin is not None:
            h = h + self.nin(concat_elu(skip))
        a, b = self.conv_out(self.dropout(concat_elu(h))).chunk(2, dim=1)
        return x + a * torch.sigmoid(b)


class PlainPixelCNN(nn.Module):
    """forward: images in [-1, 1] (N, 3, H, W) -> mixture parameters (N, 10K, H, W)."""

    def __init__(self, nr_resnets: int, filters: int, nr_logistic_mix: int) -> None:
        super().__init__()

        def blocks(n: int, kind: tuple[tuple[int, int], Padding], skip: int) -> nn.ModuleList:
            return nn.ModuleList(Block(filters, skip, kind) for _ in range(n))

        lengths = [nr_resnets, nr_resnets + 1, nr_resnets + 1]
        self.u_in = ShiftedConv(4, filters, DOWN)
        self.ul_in = nn.ModuleList(
            [ShiftedConv(4, filters, ((1, 3), (1, 1, 0, 0))), ShiftedConv(4, filters, ((2, 1), (0, 0, 1, 0)))]
        )
        self.u_up = nn.ModuleList(blocks(nr_resnets, DOWN, 0) for _ in range(3))
        self.ul_up = nn.ModuleList(blocks(nr_resnets, DOWN_RIGHT, filters) for _ in range(3))
        self.u_down = nn.ModuleList(blocks(n, DOWN, filters) for n in lengths)
        self.ul_down = nn.ModuleList(blocks(n, DOWN_RIGHT, 2 * filters) for n in lengths)
        self.u_halve = nn.ModuleList(ShiftedConv(filters, filters, DOWN, 2) for _ in range(2))
        self.ul_halve = nn.ModuleList(ShiftedConv(filters, filters, DOWN_RIGHT, 2) for _ in range(2))
        self.u_double = nn.ModuleList(
            weight_norm(nn.ConvTranspose2d(filters, filters, (2, 3), 2, (0, 1), (0, 1)), dim=1) for _ in range(2)
        )
        self.ul_double = nn.ModuleList(
            weight_norm(nn.ConvTranspose2d(filters, filters, (2, 2), 2), dim=1) for _ in range(2)
        )
        self.out = weight_norm(nn.Conv2d(filters, 10 * nr_logistic_mix, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0)
        u = F.pad(self.u_in(x), (0, 0, 1, 0))[:, :, :-1]
        ul = F.pad(self.ul_in[0](x), (0, 0, 1, 0))[:, :, :-1] + F.pad(self.ul_in[1](x), (1, 0, 0, 0))[..., :-1]
        us, uls = [u], [ul]
        for i in range(3):
            for u_block, ul_block in zip(self.u_up[i], self.ul_up[i], strict=True):
                u = u_block(u)
                ul = ul_block(ul, u)
                us.append(u)
                uls.append(ul)
            if i < 2:
                u, ul = self.u_halve[i](u), self.ul_halve[i](ul)
                us.append(u)
                uls.append(ul)
        u, ul = us.pop(), uls.pop()
        for i in range(3):
            for u_block, ul_block in zip(self.u_down[i], self.ul_down[i], strict=True):
                u = u_block(u, us.pop())
                ul = ul_block(ul, torch.cat([u, uls.pop()], dim=1))
            if i < 2:
                u, ul = self.u_double[i](u), self.ul_double[i](ul)
        return self.out(F.elu(ul))


def textbook_loss(x: Tensor, parameters: Tensor) -> Tensor:
    """Mean bits per dimension of images in [-1, 1], (N, 3, H, W)."""
    n, size, height, width = parameters.shape
    k = size // 10
    logits = parameters[:, :k]
    means, log_scales, coefficients = parameters[:, k:].view(n, 3, 3, k, height, width).unbind(1)
    log_scales = log_scales.clamp(min=-7.0)
    alpha, beta, gamma = torch.tanh(coefficients).unbind(1)
    red, green, _ = x[:, :, None].unbind(1)
    means = torch.stack([means[:, 0], means[:, 1] + alpha * red, means[:, 2] + beta * red + gamma * green], dim=1)
    centred = x[:, :, None] - means
    inverse = torch.exp(-log_scales)
    above, below = inverse * (centred + 1 / 255), inverse * (centred - 1 / 255)
    delta = torch.sigmoid(above) - torch.sigmoid(below)
    middle = inverse * centred
    density = middle - log_scales - 2.0 * F.softplus(middle) - math.log(127.5)
    inner = torch.where(delta > 1e-5, torch.log(delta.clamp(min=1e-12)), density)
    edges = torch.where(x[:, :, None] > 0.999, -F.softplus(below), inner)
    log_probs = torch.where(x[:, :, None] < -0.999, above - F.softplus(above), edges).sum(1)
    log_prob = torch.logsumexp(log_probs + F.log_softmax(logits, dim=1), dim=1)
    return -log_prob.sum() / (x.numel() * math.log(2.0))
