"""Crops of the photographs of a data set, read from their files when a classifier looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cpixelcnn.datasets.compression import Compression
from cpixelcnn.datasets.crops import CORNERS, Crop
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
    if image_set.paths is None:
        raise DataError(
            f"the images of {image_set.name} have no files, so there are no photographs to cut the corners from; "
            "pass `views` 1 or 2"
        )
    channels, height, width = image_set.images.shape[1:]
    read = read_images(
        image_set.paths,
        channels=channels,
        height=height,
        width=width,
        compression=compression,
        crops=crops,
        progress=progress,
    )
    return replace(image_set, crops=read.crops)
