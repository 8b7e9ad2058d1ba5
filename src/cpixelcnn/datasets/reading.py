"""Lists of image files, each by the policy of `cpixelcnn.datasets.decoding`: what became of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.datasets.compression import Compression
from cpixelcnn.datasets.crops import Crop
from cpixelcnn.datasets.decoding import attempt_image
from cpixelcnn.errors import BadImagesError, DataError
from cpixelcnn.progress import Progress, silent

REMEDY = "repair or remove them, or pass `skip_bad` to leave them out"


@dataclass(frozen=True)
class ReadImages:
    """What became of a list of files.

    Attributes:
        images: uint8 (N, C, H, W).
        kept: which of the paths became images, as N ascending indices.
        failures: ``(path, reason)`` of the others, in the order of the paths.
        animated: those of the kept files that hold several pictures, of which the first was taken.
        nr_compressed: how many of the kept files went through the compression that was asked for.
        crops: the K crops of each image that were asked for, uint8 (K, N, C, H, W).
        uncut: those of the kept files that are too small for a crop, and stand in for it.
    """

    images: Tensor
    kept: list[int]
    failures: list[tuple[Path, str]]
    animated: list[Path]
    nr_compressed: int
    crops: Tensor
    uncut: list[Path]


def read_image(path: Path, *, channels: int, height: int | None, width: int | None) -> Tensor:
    """Read one image file by the policy of `cpixelcnn.datasets.decoding`.

    Args:
        path: the file.
        channels: 3 (RGB) or 1 (grey).
        height: rows of the result, or None together with `width` to keep the stored size.
        width: columns of the result.

    Returns:
        uint8 (C, H, W).

    Raises:
        BadImagesError: the file cannot be used, and why.
    """
    return read_images([path], channels=channels, height=height, width=width).images[0]


def read_images(
    paths: Sequence[Path],
    *,
    channels: int,
    height: int | None,
    width: int | None,
    skip_bad: bool = False,
    compression: Compression | None = None,
    as_is: bool = False,
    crops: Sequence[Crop] = (),
    progress: Progress = silent,
) -> ReadImages:
    """Read many image files by the policy of `cpixelcnn.datasets.decoding`.

    Args:
        paths: the N files.
        channels: 3 (RGB) or 1 (grey).
        height: rows of the result, or None together with `width` to keep the stored size, the same in all files.
        width: columns of the result.
        skip_bad: return files that cannot be used among `failures` rather than raise.
        compression: what images go through before they are scaled, as in `attempt_image`.
        as_is: whether files that did not go through it are left alone all the same.
        crops: those that are wanted of each image as well.
        progress: called after every file.

    Raises:
        BadImagesError: there are files that cannot be used; it lists all of them.
        DataError: the stored size is to be kept, and the files differ in it.
    """
    images: list[Tensor] = []
    cut: list[tuple[Tensor, ...]] = []
    kept: list[int] = []
    failures: list[tuple[Path, str]] = []
    animated: list[Path] = []
    uncut: list[Path] = []
    nr_compressed = 0
    for index, path in enumerate(paths):
        attempt = attempt_image(
            path, channels=channels, height=height, width=width, compression=compression, as_is=as_is, crops=crops
        )
        if attempt.image is None:
            failures.append((path, attempt.reason))
        else:
            images.append(attempt.image)
            cut.append(attempt.crops)
            kept.append(index)
            animated += [path] if attempt.animated else []
            uncut += [path] if attempt.uncut else []
            nr_compressed += attempt.compressed
        progress(index + 1, len(paths))
    if failures and not skip_bad:
        raise BadImagesError(failures, REMEDY)
    for index, image in zip(kept, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"{paths[index]} has {_size(image)} pixels and {paths[kept[0]]} has {_size(images[0])}; "
                f"name one size with `image_size`"
            )
    shape = (channels, height or 0, width or 0)
    return ReadImages(
        images=stacked(images, shape),
        kept=kept,
        failures=failures,
        animated=animated,
        nr_compressed=nr_compressed,
        crops=stacked_crops(cut, crops, shape),
        uncut=uncut,
    )


def stacked(images: Sequence[Tensor], shape: tuple[int, int, int]) -> Tensor:
    """Images as one tensor uint8 (N, C, H, W), of this shape (C, H, W) where there are none."""
    return torch.stack(list(images)) if images else torch.empty(0, *shape, dtype=torch.uint8)


def stacked_crops(cut: Sequence[tuple[Tensor, ...]], crops: Sequence[Crop], shape: tuple[int, int, int]) -> Tensor:
    """The crops of N images as one tensor uint8 (K, N, C, H, W)."""
    of_crops = [stacked([of_image[k] for of_image in cut], shape) for k in range(len(crops))]
    return torch.stack(of_crops) if of_crops else torch.empty(0, len(cut), *shape, dtype=torch.uint8)


def animation_note(paths: Sequence[Path]) -> str:
    """The sentence that says of which files the first picture alone was used; empty if there are none.

    >>> animation_note([Path("a.gif"), Path("b.gif")])
    '2 files hold several pictures, such as a.gif; the first picture of each is used'
    """
    if not paths:
        return ""
    if len(paths) == 1:
        return f"{paths[0]} holds several pictures; the first is used"
    return f"{len(paths)} files hold several pictures, such as {paths[0]}; the first picture of each is used"


def _size(image: Tensor) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"
