"""Pictures of many images: grids with a caption for every row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cpixelcnn.storage import write_png

READABLE = 800  # pixels: how wide a grid is made where its images are small
LARGEST = 200  # pixels: how wide an image is made at most
_GAP = 2
_PAPER, _INK, _GREY = 255, 40, 128
_FONT_SIZE, _SMALLEST = 20, 9
_WIDEST_CAPTION = 240


def readable_scale(columns: int, width: int) -> int:
    """How many times images of this width are enlarged: a row is about `READABLE` wide, an image at most `LARGEST`."""
    return max(1, min(READABLE // columns, LARGEST) // width)


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
        headings: what stands above the first columns, the last of them above all that follow; or nothing.
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
    captions, headings = [_printable(text) for text in captions], [_printable(text) for text in headings]
    longest = max((_font(_FONT_SIZE).getlength(text) for text in captions), default=0)
    margin_left = _GAP + (min(round(longest), _WIDEST_CAPTION) + 10 if captions else 0)
    margin_top = _GAP + (_FONT_SIZE + 10 if headings else 0)
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
        _write(draw, (margin_left - 8, middle), text, "rm", _WIDEST_CAPTION)
    for column, text in enumerate(headings):
        start = margin_left + column * (width + _GAP)
        wide = picture.width - start if column + 1 == len(headings) else width
        _write(draw, (start + 2, margin_top // 2), text, "lm", wide - 4)
    return np.asarray(picture)


def save_grid(
    path: Path, images: Tensor, columns: int, *, captions: Sequence[str] = (), headings: Sequence[str] = ()
) -> None:
    """Write a `grid` as PNG.

    Raises:
        OSError: the file cannot be written.
    """
    write_png(path, grid(images, columns, captions=captions, headings=headings))


def captioned_tiles(
    images: Tensor, captions: Sequence[Sequence[str]], columns: int, scale: int | None = None
) -> NDArray[np.uint8]:
    """Images in rows, each with lines of text of its own below it, uint8 (H', W', 3).

    Args:
        images: uint8 (N, C, H, W).
        captions: lines of text for each image, as many for one as for another.
        columns: images in a row.
        scale: how many times images are enlarged; as `readable_scale` unless given.
    """
    scale = scale or readable_scale(columns, images.shape[3])
    line, gap = _FONT_SIZE, 5 * _GAP
    width, height = images.shape[3] * scale, images.shape[2] * scale
    step = height + line * max(map(len, captions), default=0) + gap
    page = np.full((gap + -(-len(images) // columns) * step, gap + columns * (width + gap), 3), _PAPER, np.uint8)
    picture = Image.fromarray(page)
    draw = ImageDraw.Draw(picture)
    for i, (image, lines) in enumerate(zip(images, captions, strict=True)):
        top, left = gap + i // columns * step, gap + i % columns * (width + gap)
        tile = Image.fromarray(np.ascontiguousarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy()))
        picture.paste(tile.resize((width, height), Image.Resampling.NEAREST), (left, top))
        for number, text in enumerate(lines):
            _write(draw, (left, top + height + line * number + line // 2 + 2), _printable(text), "lm", width)
    return np.asarray(picture)


def side_by_side(pictures: Sequence[NDArray[np.uint8]], headings: Sequence[str]) -> NDArray[np.uint8]:
    """Pictures uint8 (H, W, 3) of one height in a row, a heading above each: uint8 (H', W', 3)."""
    gap, top = 10 * _GAP, _FONT_SIZE + 12
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    page = np.full((top + max(picture.shape[0] for picture in pictures), width, 3), _PAPER, np.uint8)
    lefts: list[int] = []
    for picture in pictures:
        lefts.append(lefts[-1] + pictures[len(lefts) - 1].shape[1] + gap if lefts else 0)
        page[top : top + picture.shape[0], lefts[-1] : lefts[-1] + picture.shape[1]] = picture
    image = Image.fromarray(page)
    draw = ImageDraw.Draw(image)
    for left, picture, text in zip(lefts, pictures, headings, strict=True):
        _write(draw, (left + picture.shape[1] - 4, top // 2), _printable(text), "rm", picture.shape[1] - 8)
    return np.asarray(image)


def completion_page(originals: Tensor, completed: Tensor, from_row: int) -> Tensor:
    """Before and after, uint8 (M, C, H, W): in each line the original, what was given of it, and its completions.

    Args:
        originals: uint8 (lines, C, H, W).
        completed: their completions, line by line, uint8 (N, C, H, W).
        from_row: the rows above it were given.
    """
    given = originals.clone()
    given[:, :, from_row:] = _GREY
    lines = completed.view(len(originals), -1, *completed.shape[1:])
    return torch.cat([originals[:, None], given[:, None], lines], dim=1).flatten(0, 1)


def drawing_stages(images: Tensor, from_row: int = 0, stages: int = 8) -> tuple[Tensor, list[int]]:
    """Images while they are drawn in raster order: what follows a row is grey still.

    Args:
        images: finished ones, uint8 (N, C, H, W).
        from_row: the first row that was drawn.
        stages: how many of each image, or as many as rows were drawn.

    Returns:
        uint8 (N * stages, C, H, W), the stages of an image side by side, and how many rows each stage has.
    """
    height = images.shape[2]
    stages = max(1, min(stages, height - from_row))
    rows = [from_row + -(-(height - from_row) * (i + 1) // stages) for i in range(stages)]
    page = images[:, None].repeat(1, stages, 1, 1, 1)
    for i, row in enumerate(rows):
        page[:, i, :, row:] = _GREY
    return page.flatten(0, 1), rows


def _printable(text: str) -> str:
    """Text in one line, without what no font can draw."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, anchor: str, width: int) -> None:
    """Text no wider than this: in smaller letters where need be, and then shortened."""
    size = next((size for size in range(_FONT_SIZE, _SMALLEST, -1) if _font(size).getlength(text) <= width), _SMALLEST)
    font = _font(size)
    shown = text
    while shown and font.getlength(shown) > width:
        text = text[:-1]
        shown = f"{text}..." if text else ""
    draw.text(place, shown, fill=(_INK,) * 3, font=font, anchor=anchor)
