"""Pictures of many images: grids with a caption for every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cpixelcnn.storage import write_png

READABLE = 800  # pixels: how wide a grid is made where its images are small
_GAP = 2
_PAPER, _INK, _GREY = 255, 40, 128
_FONT_SIZE = 20


def readable_scale(columns: int, width: int) -> int:
    """How many times images of this width are enlarged, so that a row of them is about `READABLE` pixels wide."""
    return max(1, READABLE // (columns * width))


def grid(
    images: Tensor,
    columns: int,
    *,
    captions: Sequence[str] = (),
    headings: Sequence[str] = (),
    scale: int | None = None,
) -> NDArray[np.uint8]:
    """Images side by side, row by row, enlarged without smoothing.

    Args:
        images: uint8 (N, C, H, W).
        columns: images in a row.
        captions: what stands left of each row, or nothing.
        headings: what stands above each column, or nothing.
        scale: how many times they are enlarged; as `readable_scale` unless given.

    Returns:
        uint8 (rows, columns, 3).
    """
    scale = scale or readable_scale(columns, images.shape[3])
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    images = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    n, _, height, width = images.shape
    rows = -(-n // columns)
    font = ImageFont.load_default(_FONT_SIZE)
    margin_left = round(max((font.getlength(text) for text in captions), default=-10)) + 10 + _GAP
    margin_top = (_FONT_SIZE + 10 if headings else 0) + _GAP
    page = torch.full(
        (margin_top + rows * (height + _GAP), margin_left + columns * (width + _GAP), 3), _PAPER, dtype=torch.uint8
    )
    for i, image in enumerate(images):
        top, left = margin_top + i // columns * (height + _GAP), margin_left + i % columns * (width + _GAP)
        page[top : top + height, left : left + width] = image.permute(1, 2, 0)
    picture = Image.fromarray(page.numpy())
    draw = ImageDraw.Draw(picture)
    for row, text in enumerate(captions):
        middle = margin_top + row * (height + _GAP) + height // 2
        draw.text((margin_left - 8, middle), text, fill=(_INK,) * 3, font=font, anchor="rm")
    for column, text in enumerate(headings):
        middle = margin_left + column * (width + _GAP) + width // 2
        draw.text((middle, margin_top // 2), text, fill=(_INK,) * 3, font=font, anchor="mm")
    return np.asarray(picture)


def save_grid(
    path: Path, images: Tensor, columns: int, *, captions: Sequence[str] = (), headings: Sequence[str] = ()
) -> None:
    """Write a `grid` as PNG.

    Raises:
        OSError: the file cannot be written.
    """
    write_png(path, grid(images, columns, captions=captions, headings=headings))


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
