"""Images that no model should find familiar: noise and flat colours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig


def noise(config: ModelConfig, n: int, seed: int = 0) -> Tensor:
    """Images that suit a model, every value uniform and independent: uint8 (n, C, H, W)."""
    shape = (n, config.image_channels, config.image_height, config.image_width)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def flat(config: ModelConfig, n: int, seed: int = 0) -> Tensor:
    """Images that suit a model, each of one colour, which is uniform: uint8 (n, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(256, (n, config.image_channels, 1, 1), dtype=torch.uint8, generator=generator)
    return colours.expand(-1, -1, config.image_height, config.image_width).contiguous()


SYNTHETIC: dict[str, Callable[[ModelConfig, int], Tensor]] = {"noise": noise, "flat": flat}
