"""Exponential moving average of the weights: what is evaluated, sampled from and shipped."""

from __future__ import annotations

import copy

import torch

from cpixelcnn.model.network import PixelCNN


class ExponentialMovingAverage:
    """theta_ema <- d * theta_ema + (1 - d) * theta after every step, with d = min(decay, (1 + t) / (10 + t)) at step t.

    The warm-up lets the average forget the random start within a few steps instead of 1 / (1 - decay) of them.

    Args:
        model: the model whose weights are followed; the average starts as a copy of them.
        decay: 0.999 remembers about a thousand steps; 0 makes the average equal to the weights.
    """

    def __init__(self, model: PixelCNN, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: PixelCNN, step: int) -> None:
        """Average in the weights after optimiser step number `step` (the first is 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages = [parameter.data for parameter in self.model.parameters()]
        torch._foreach_lerp_(averages, [parameter.data for parameter in model.parameters()], 1.0 - decay)
