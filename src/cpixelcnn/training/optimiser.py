"""Adam as the original uses it, and a weight decay for networks with weight normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from cpixelcnn.config import TrainConfig
from cpixelcnn.model.layers import WeightNormConv
from cpixelcnn.model.network import PixelCNN


def make_optimiser(model: PixelCNN, options: TrainConfig) -> torch.optim.Adam:
    """Adam over all parameters in a single group, whatever is decayed: its state fits any checkpoint of the model."""
    # Fused: one pass over each weight instead of a dozen, and a step that is skipped on the device; MPS ignores that.
    fused = model.device.type in ("cpu", "cuda")
    return torch.optim.Adam(model.parameters(), lr=options.lr, betas=(options.beta1, options.beta2), fused=fused)


def decayed_parameters(model: PixelCNN) -> list[Tensor]:
    """The directions v of the convolutions' weights  g * v / ||v||,  and nothing else.

    The length of v changes nothing that the network computes, so decaying it takes nothing from the function. What it
    does is this: a gradient is orthogonal to its v, hence ||v|| only ever grows, and every step turns the direction
    by less. The decay holds ||v|| where the two balance, and with it the angle of a step (van Laarhoven 2017, "L2
    regularization versus batch and weight normalization").

    The gains g, the biases and all by which the class enters (fusion, embedding, FiLM) would be drawn towards a
    network that computes less and knows the class less; they are left alone.
    """
    return [layer.v for layer in model.modules() if isinstance(layer, WeightNormConv)]


@torch.no_grad()
def decay_weights(parameters: list[Tensor], share: Tensor) -> None:
    """v <- (1 - share) * v  with share = lr * weight_decay, before Adam's own step (Loshchilov & Hutter 2019)."""
    torch._foreach_mul_(parameters, 1.0 - share)
