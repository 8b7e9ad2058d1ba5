"""Which files of a directory are images, in an order that people expect and that is the same on every machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cpixelcnn.errors import DataError

# What lies in a folder of samples beside the samples themselves.
MANIFEST, GRID = "manifest.json", "grid.png"

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorts names with their numbers as numbers and whatever their case: ``img9``, ``Img10``, ``img11``."""
    # Splitting at a group alternates text and digits, so that equal positions always compare equal types.
    pieces = re.split(r"([0-9]+)", name.casefold())
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)], name


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: by its extension, in any case, unless it is hidden."""
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def find_images(directory: Path, recursive: bool = True) -> list[Path]:
    """Everything in a directory that is named like an image, in natural order, sub-folders after files.

    What is named like an image and is none (a directory, a dangling link) is listed too, so that reading reports it
    instead of nobody. Hidden files and folders are left out, and so is the grid in a folder of samples; links to
    folders are followed, but never in a circle.

    Raises:
        DataError: a directory cannot be listed.
    """
    return _search(directory, recursive, frozenset())


def subfolders(directory: Path) -> list[Path]:
    """The folders directly in a directory that are neither hidden nor named like an image, in natural order.

    Raises:
        DataError: the directory cannot be listed.
    """
    return [path for path in _entries(directory) if os.path.isdir(path) and not is_image_name(path.name)]


def _search(directory: Path, recursive: bool, above: frozenset[Path]) -> list[Path]:
    found = [path for path in _entries(directory) if is_image_name(path.name)]
    if (directory / MANIFEST).is_file():
        found = [path for path in found if path.name != GRID]
    above |= {directory.resolve()}
    for folder in subfolders(directory) if recursive else []:
        if folder.resolve() not in above:
            found += _search(folder, recursive, above)
    return found


def _entries(directory: Path) -> list[Path]:
    try:
        entries = [path for path in directory.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"{directory} cannot be listed ({error.strerror}); check the path and its permissions"
        ) from error
    return sorted(entries, key=lambda path: natural_key(path.name))
