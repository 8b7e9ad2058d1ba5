"""Which files of a directory are images, in an order that people expect and that is the same on every machine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cpixelcnn.errors import DataError

# What lies in a folder of samples beside the samples themselves.
MANIFEST, GRID, STRIP = "manifest.json", "grid.png", "strip.png"

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))

_NUMBER = re.compile(r"0*([0-9]+)")


def natural_key(name: str) -> tuple[str, str]:
    """Sorts names with their numbers as numbers and whatever their case: ``img9``, ``Img10``, ``img11``.

    >>> sorted(["img11", "Img10", "img9"], key=natural_key)
    ['img9', 'Img10', 'img11']
    """

    # A number is written as a zero byte, which no file name has, the number of its digits, and the digits: it sorts
    # before any text, and by its value. One string takes a fifth of the memory of a list of text and integers.
    def by_value(number: re.Match[str]) -> str:
        return f"\0{chr(len(number[1]))}{number[1]}"

    return _NUMBER.sub(by_value, name.casefold()), name


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: by its extension, in any case, unless it is hidden."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def find_images(directory: Path, recursive: bool = True) -> list[Path]:
    """The list of what `iter_images` finds.

    Raises:
        DataError: a directory cannot be listed.
    """
    return list(iter_images(directory, recursive))


def iter_images(
    directory: Path, recursive: bool = True, on_error: Callable[[DataError], None] | None = None
) -> Iterator[Path]:
    """Everything in a directory that is named like an image, in natural order, sub-folders after files.

    What is named like an image and is none (a directory, a dangling link) is listed too, so that the reader of the
    files reports it. Hidden files and folders are left out, and so are the overviews in a folder of samples. Links to
    folders are followed, but each folder is searched once, however many links lead to it.

    Args:
        directory: where to search.
        recursive: whether to search its sub-folders too.
        on_error: called with the error of a directory that cannot be listed, which is then left out.

    Raises:
        DataError: a directory cannot be listed, and there is no `on_error`.
    """
    searched: set[tuple[int, int]] = set()
    waiting = [directory]
    while waiting:
        folder = waiting.pop()
        try:
            identity = _identity(folder)
            entries = _list(folder) if identity not in searched else _Entries([], [])
        except DataError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        searched.add(identity)
        yield from (folder / name for name in entries.images)
        if recursive:
            waiting += [folder / name for name in reversed(entries.folders)]


def subfolders(directory: Path) -> list[Path]:
    """The folders directly in a directory that are neither hidden nor named like an image, in natural order.

    Raises:
        DataError: the directory cannot be listed.
    """
    return [directory / name for name in _list(directory).folders]


class _Entries(NamedTuple):
    """Names in a directory, each kind in natural order."""

    images: list[str]
    folders: list[str]


def _list(directory: Path) -> _Entries:
    images, folders, is_of_samples = [], [], False
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if is_image_name(entry.name):
                    images.append(entry.name)
                elif not entry.name.startswith(".") and os.path.isdir(entry):
                    folders.append(entry.name)
                is_of_samples |= entry.name == MANIFEST and os.path.isfile(entry)
    except OSError as error:
        raise _unlistable(directory, error) from error
    if is_of_samples:
        images = [name for name in images if name not in (GRID, STRIP)]
    return _Entries(sorted(images, key=natural_key), sorted(folders, key=natural_key))


def _identity(directory: Path) -> tuple[int, int]:
    try:
        status = directory.stat()
    except OSError as error:
        raise _unlistable(directory, error) from error
    return status.st_dev, status.st_ino


def _unlistable(directory: Path, error: OSError) -> DataError:
    return DataError(f"{directory} cannot be listed ({error.strerror}); check the path and its permissions")
