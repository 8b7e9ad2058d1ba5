"""Crops of the photographs of a data set, read from their files: to look at in evaluation, and to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cpixelcnn.datasets.compression import Compression
from cpixelcnn.datasets.crops import CORNERS, Crop, random_crops
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.reading import ReadImages, read_images
from cpixelcnn.errors import BadImagesError, DataError, plural
from cpixelcnn.progress import Progress, silent


def with_crops(
    image_set: ImageSet,
    crops: Sequence[Crop] = CORNERS,
    compression: Compression | None = None,
    progress: Progress = silent,
) -> ImageSet:
    """The same images with crops of their files (see `cpixelcnn.datasets.decoding`).

    Args:
        image_set: images that were read from files of their own, as they are.
        crops: which.
        compression: what the model's training images went through. Crops of files that did so go through it again.
        progress: called after every file.

    Raises:
        DataError: the images have no files, or none of these is large enough.
        BadImagesError: a file cannot be read any more.
    """
    remedy = "pass `views` 1 or 2"
    read = _read(image_set, _files(image_set, remedy), crops, compression, progress)
    if len(read.uncut) == len(image_set):
        raise _too_small(image_set, remedy)
    return replace(image_set, crops=read.crops, notes=(*image_set.notes, *_notes(len(read.uncut))))


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
        image_set: images that were read from files of their own, as they are.
        number: crops of each image.
        seed: another seed is other crops.
        compression: as for `with_crops`.
        progress: called after every file.

    Raises:
        DataError: the images have no files, or none of these is large enough.
        BadImagesError: a file cannot be read any more.
    """
    if number == 0:
        return image_set
    remedy = "choose a smaller `image_size`, or leave out `crops`"
    # One generator for all images in turn: so the crops are those that the shipped models were trained on.
    generator = np.random.default_rng(seed % 2**64)
    images, nr_uncut = [], 0
    for index, path in enumerate(_files(image_set, remedy)):
        read = _read(image_set, [path], random_crops(number, generator), compression)
        images.append(torch.cat([image_set.images[index : index + 1], read.crops[:, 0]]))
        nr_uncut += len(read.uncut)
        progress(index + 1, len(image_set))
    if nr_uncut == len(image_set):
        raise _too_small(image_set, remedy)
    groups = torch.arange(len(image_set)).repeat_interleave(1 + number)
    notes = (*image_set.notes, *_notes(nr_uncut))
    return replace(image_set.select(groups), images=torch.cat(images), notes=notes, crops=None)


def uncut_note(count: int) -> str:
    """The sentence that says how many photographs could not be cut; empty if all could.

    >>> uncut_note(2)
    '2 photographs are too small for crops, and stand in for them'
    """
    verbs = "is too small for crops, and stands in" if count == 1 else "are too small for crops, and stand in"
    return f"{plural(count, 'photograph')} {verbs} for them" if count else ""


def _notes(nr_uncut: int) -> tuple[str, ...]:
    return (uncut_note(nr_uncut),) if nr_uncut else ()


def _files(image_set: ImageSet, remedy: str) -> tuple[Path, ...]:
    if image_set.paths is None:
        raise DataError(
            f"the images of {image_set.name} have no files, so there are no photographs to cut crops from; {remedy}"
        )
    return image_set.paths


def _read(
    image_set: ImageSet,
    paths: Sequence[Path],
    crops: Sequence[Crop],
    compression: Compression | None,
    progress: Progress = silent,
) -> ReadImages:
    channels, height, width = image_set.images.shape[1:]
    read = read_images(
        paths,
        channels=channels,
        height=height,
        width=width,
        skip_bad=True,
        compression=compression,
        as_is=True,
        crops=crops,
        progress=progress,
    )
    if read.failures:
        raise BadImagesError(read.failures, "bring back the files as they were when the images were read")
    return read


def _too_small(image_set: ImageSet, remedy: str) -> DataError:
    height, width = image_set.images.shape[2:]
    example = f", such as {image_set.paths[0]}," if image_set.paths else ""
    return DataError(
        f"the files of {image_set.name}{example} have too few pixels for crops of {width}x{height}; {remedy}"
    )
