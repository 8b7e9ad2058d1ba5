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
_GREY = 128


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


def completion_page(given: Tensor, completed: Tensor, from_row: int, per_line: int) -> Tensor:
    """Before and after, uint8 (M, C, H, W), in lines of `per_line` + 2: the image, what was kept of it, completions.

    Args:
        given: the images, uint8 (N, C, H, W), `per_line` neighbours of which are the same.
        completed: their completions, uint8 (N, C, H, W).
        from_row: the rows above it were kept.
        per_line: completions in a line.
    """
    originals = given[::per_line]
    kept = originals.clone()
    kept[:, :, from_row:] = _GREY
    lines = completed.view(-1, per_line, *completed.shape[1:])
    return torch.cat([originals[:, None], kept[:, None], lines], dim=1).flatten(0, 1)
