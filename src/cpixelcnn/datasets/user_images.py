"""Images that a user hands over to be classified: files and directories, with or without known classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from cpixelcnn.datasets.decoding import REMEDY, read_images
from cpixelcnn.datasets.image_files import find_images
from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.errors import BadImagesError, DataError
from cpixelcnn.progress import Progress, silent


class Inputs(NamedTuple):
    """The images that could be read, and ``(path, reason)`` of what could not."""

    images: ImageSet
    failures: list[tuple[Path, str]]


def read_inputs(
    paths: Sequence[Path],
    *,
    classes: tuple[str, ...],
    channels: int,
    height: int,
    width: int,
    skip_bad: bool = True,
    progress: Progress = silent,
) -> Inputs:
    """Read image files and the images in directories.

    An image that lies directly in a folder with the name of a class is known to be of that class; all others are
    unlabelled.

    Args:
        paths: files (whatever their names) and directories (searched with their sub-folders); each image counts once.
        classes: names of the classes, in the order of their labels.
        channels: 3 (RGB) or 1 (grey).
        height: rows wanted.
        width: columns wanted.
        skip_bad: return what cannot be used among `failures`; raise otherwise.
        progress: told of every file.

    Raises:
        BadImagesError: files cannot be used and `skip_bad` is off, or none at all can be used; it lists all of them.
        DataError: there are no images.
    """
    files, empty = _expand(paths)
    if not files:
        names = ", ".join(str(path) for path in paths)
        raise DataError(f"there are no images in {names or 'an empty list of paths'}; name image files or directories")
    result = read_images(files, channels=channels, height=height, width=width, skip_bad=True, progress=progress)
    failures = result.failures + [(path, "no images in this directory") for path in empty]
    if failures and not skip_bad:
        raise BadImagesError(failures, REMEDY)
    if not result.kept:
        raise BadImagesError(failures, "there is no other, so name images that can be read")
    kept = tuple(files[index] for index in result.kept)
    # The absolute path, for an image named without its folder still lies in one.
    parents = [path.absolute().parent.name for path in kept]
    labels = torch.tensor([classes.index(name) if name in classes else UNLABELLED for name in parents])
    origin = "images given on the command line"
    images = ImageSet(result.images, labels, classes, "images", "inputs", kept, origin, len(failures))
    return Inputs(images, failures)


def _expand(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The image files that the paths stand for, each once, and the directories without any."""
    files: dict[Path, Path] = {}
    empty: list[Path] = []
    for path in paths:
        found = find_images(path) if os.path.isdir(path) else [path]  # never raises
        if not found:
            empty.append(path)
        for file in found:
            files.setdefault(file.absolute(), file)
    return list(files.values()), empty
