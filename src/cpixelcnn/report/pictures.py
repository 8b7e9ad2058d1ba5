"""Pictures of many images: grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.storage import write_png

_GAP = 2
_PAPER = 255


def grid(images: Tensor, columns: int, scale: int = 2) -> NDArray[np.uint8]:
    """Images uint8 (N, C, H, W) side by side, row by row, each enlarged `scale` times: uint8 (rows, columns, 3)."""
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    images = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    size = (channels, rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP)
    page = torch.full(size, _PAPER, dtype=torch.uint8)
    for i, image in enumerate(images):
        top, left = (_GAP + k * (side + _GAP) for k, side in ((i // columns, height), (i % columns, width)))
        page[:, top : top + height, left : left + width] = image
    pixels: NDArray[np.uint8] = page.permute(1, 2, 0).contiguous().numpy()
    return pixels


def save_grid(path: Path, images: Tensor, columns: int, scale: int = 2) -> None:
    """Write a grid of images uint8 (N, C, H, W) as PNG."""
    write_png(path, grid(images, columns, scale))
