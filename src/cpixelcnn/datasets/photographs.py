"""Crops of the photographs of a data set, read from their files: to look at in evaluation, and to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cpixelcnn.datasets.compression import Compression
from cpixelcnn.datasets.crops import CORNERS, Crop, random_crops
from cpixelcnn.datasets.decoding import read_images
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import DataError
from cpixelcnn.progress import Progress, silent


def with_crops(
    image_set: ImageSet,
    crops: Sequence[Crop] = CORNERS,
    compression: Compression | None = None,
    progress: Progress = silent,
) -> ImageSet:
    """The same images with crops of their files (see `cpixelcnn.datasets.decoding`).

    Args:
        image_set: images that were read from files of their own.
        crops: which.
        compression: what the model's training images went through.
        progress: called after every file.

    Raises:
        DataError: the images have no files.
        BadImagesError: a file cannot be read any more.
    """
    paths = _files(image_set, "pass `views` 1 or 2")
    channels, height, width = image_set.images.shape[1:]
    read = read_images(
        paths,
        channels=channels,
        height=height,
        width=width,
        compression=compression,
        crops=crops,
        progress=progress,
    )
    return replace(image_set, crops=read.crops)


def with_random_crops(
    image_set: ImageSet,
    number: int,
    *,
    seed: int = 0,
    compression: Compression | None = None,
    progress: Progress = silent,
) -> ImageSet:
    """The images, each followed by random crops of its file: more images to train on.

    Args:
        image_set: images that were read from files of their own.
        number: crops of each image.
        seed: another seed is other crops.
        compression: what the files went through, which the crops go through again.
        progress: called after every file.

    Raises:
        DataError: the images have no files, or these have no more pixels than the images.
        BadImagesError: a file cannot be read any more.
    """
    if number == 0:
        return image_set
    remedy = "leave out `crops`"
    paths = _files(image_set, remedy)
    channels, height, width = image_set.images.shape[1:]
    generator = np.random.default_rng(seed % 2**64)
    images = []
    for index, path in enumerate(paths):
        crops = random_crops(number, generator)
        read = read_images([path], channels=channels, height=height, width=width, compression=compression, crops=crops)
        images.append(torch.cat([image_set.images[index : index + 1], read.crops[:, 0]]))
        progress(index + 1, len(paths))
    if all(bool((group == group[:1]).all()) for group in images):
        raise DataError(
            f"the files of {image_set.name} have not the pixels for crops of {width}x{height} pixels; {remedy}"
        )
    groups = torch.arange(len(image_set)).repeat_interleave(1 + number)
    return replace(image_set.select(groups), images=torch.cat(images))


def _files(image_set: ImageSet, remedy: str) -> tuple[Path, ...]:
    if image_set.paths is None:
        raise DataError(
            f"the images of {image_set.name} have no files, so there are no photographs to cut crops from; {remedy}"
        )
    return image_set.paths
