"""Adam, and a weight decay for networks with weight normalisation.

The betas are the options'; epsilon stands outside the root, as torch has it, where the original has it inside.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpixelcnn.config import TrainConfig
from cpixelcnn.model.layers import WeightNormConv
from cpixelcnn.model.network import PixelCNN


def make_optimiser(model: PixelCNN, options: TrainConfig) -> torch.optim.Adam:
    """Adam over all parameters in a single group, decayed or not, so that its state fits any checkpoint."""
    # Fused: one pass over each weight instead of a dozen, and a step that is skipped on the device; MPS ignores that.
    fused = model.device.type in ("cpu", "cuda")
    return torch.optim.Adam(model.parameters(), lr=options.lr, betas=(options.beta1, options.beta2), fused=fused)


def decayed_parameters(model: PixelCNN) -> list[Tensor]:
    """The directions v of the convolutions' weights  g * v / ||v||,  and nothing else.

    The length of v does not change what the network computes, so its decay does not either. It changes the effective
    learning rate: the gradient is orthogonal to v, so ||v|| would only ever grow, and each step would turn the
    direction by a smaller angle. With the decay, ||v|| settles where the two balance, and so does the angle of a step
    (van Laarhoven 2017, "L2 regularization versus batch and weight normalization", arXiv:1706.05350).

    The gains g, the biases and everything by which the class enters (fusion, embedding, FiLM) are not decayed: that
    would pull the model towards one that computes less and uses the class less.
    """
    return [layer.v for layer in model.modules() if isinstance(layer, WeightNormConv)]


@torch.no_grad()
def decay_weights(parameters: list[Tensor], rate: Tensor) -> None:
    """v <- (1 - rate) * v  with rate = lr * weight_decay, before Adam's own step (AdamW, arXiv:1711.05101)."""
    torch._foreach_mul_(parameters, 1.0 - rate)
