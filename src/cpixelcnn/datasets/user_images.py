"""Images that a user hands over to be classified or completed: files, folders and patterns, with or without classes.

`iter_user_images` reads them batch by batch, so that 100,000 images need no more memory than 1,000;
`read_user_images` reads them into one `ImageSet`.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cpixelcnn.datasets.compression import Compression, compression_note
from cpixelcnn.datasets.crops import Crop
from cpixelcnn.datasets.decoding import Attempt, attempt_image
from cpixelcnn.datasets.image_files import iter_images, natural_key
from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.datasets.reading import REMEDY, animation_note, read_images, stacked, stacked_crops
from cpixelcnn.errors import BadImagesError, DataError
from cpixelcnn.progress import Progress, silent

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class UserBatch:
    """Some of a user's images, in the order in which they were named.

    Attributes:
        paths: the n files that could be read.
        images: uint8 (n, C, H, W).
        failures: ``(path, reason)`` of files that could not be read.
        animated: those of `paths` that hold several pictures, of which the first was taken.
        compressed: those of `paths` that went through the compression that was asked for.
        crops: the K crops of each image that were asked for, uint8 (K, n, C, H, W).
        uncut: those of `paths` that are too small for a crop, and stand in for it.
    """

    paths: tuple[Path, ...]
    images: Tensor
    failures: tuple[tuple[Path, str], ...]
    animated: tuple[Path, ...]
    compressed: tuple[Path, ...] = ()
    crops: Tensor | None = None
    uncut: tuple[Path, ...] = ()

    def labels(self, classes: Sequence[str]) -> Tensor:
        """Labels by the names of the images' folders, int64 (n,); see `folder_labels`."""
        return folder_labels(self.paths, classes)


class UserImages(NamedTuple):
    """The images that could be read, and ``(path, reason)`` of what could not."""

    images: ImageSet
    failures: list[tuple[Path, str]]


def iter_user_images(
    names: Iterable[Path | str],
    *,
    channels: int,
    height: int,
    width: int,
    batch_size: int,
    compression: Compression | None = None,
    crops: Sequence[Crop] = (),
    standard_input: Iterable[str] = (),
) -> Iterator[UserBatch]:
    """Read image files one batch after another; nothing is read before it is asked for.

    Args:
        names: files (whatever their extensions), folders (searched with their sub-folders), patterns with ``*``, ``?``
            or ``[...]`` where nothing of that very name exists, and ``-`` for the names in `standard_input`. Each
            image counts once.
        channels: 3 (RGB) or 1 (grey).
        height: rows of the images.
        width: columns of the images.
        batch_size: the most images in a batch, and the most failures.
        compression: what the model's training images went through (`COMPRESSIONS`). Images whose files did not go
            through it do so before they are scaled, except where they have the wanted size.
        crops: those that are wanted of each image as well.
        standard_input: lines that name files or folders (no patterns), such as `sys.stdin`.

    Yields:
        Batches with images or failures; together they tell of every file once. None if there is nothing to tell of.
    """
    read: list[tuple[Path, Tensor, Attempt]] = []
    failures: list[tuple[Path, str]] = []

    def batch() -> UserBatch:
        shape = (channels, height, width)
        taken = UserBatch(
            paths=tuple(path for path, _, _ in read),
            images=stacked([image for _, image, _ in read], shape),
            failures=tuple(failures),
            animated=tuple(path for path, _, attempt in read if attempt.animated),
            compressed=tuple(path for path, _, attempt in read if attempt.compressed),
            crops=stacked_crops([attempt.crops for _, _, attempt in read], crops, shape),
            uncut=tuple(path for path, _, attempt in read if attempt.uncut),
        )
        read.clear()
        failures.clear()
        return taken

    for path, problem in _expand(names, standard_input):
        attempt = Attempt(None, problem)
        if not problem:
            attempt = attempt_image(
                path, channels=channels, height=height, width=width, compression=compression, crops=crops
            )
        if attempt.image is None:
            failures.append((path, attempt.reason))
        else:
            read.append((path, attempt.image, attempt))
        if max(len(read), len(failures)) >= batch_size:
            yield batch()
    if read or failures:
        yield batch()


def read_user_images(
    names: Iterable[Path | str],
    *,
    classes: tuple[str, ...],
    channels: int,
    height: int,
    width: int,
    skip_bad: bool = True,
    compression: Compression | None = None,
    standard_input: Iterable[str] = (),
    progress: Progress = silent,
) -> UserImages:
    """Read image files into one `ImageSet`, labelled by the folders in which they lie (see `folder_labels`).

    Args:
        names: files, folders and patterns, as for `iter_user_images`.
        classes: names of the classes, in the order of their labels.
        channels: 3 (RGB) or 1 (grey).
        height: rows of the images.
        width: columns of the images.
        skip_bad: return what cannot be used among `failures`; raise otherwise.
        compression: what the model's training images went through, as in `iter_user_images`.
        standard_input: lines that name files or folders, for the name ``-``.
        progress: called after every file.

    Raises:
        BadImagesError: files cannot be used and `skip_bad` is off, or none at all can be used; it lists all of them.
        DataError: there are no images.
    """
    names = list(names)
    expanded = list(_expand(names, standard_input))
    files = [path for path, problem in expanded if not problem]
    problems = [(path, problem) for path, problem in expanded if problem]
    if not files and all(os.path.isdir(path) for path, _ in problems):
        named = ", ".join(map(str, names)) or "an empty list of paths"
        raise DataError(f"there are no images in {named}; name image files or folders with images")
    result = read_images(
        files,
        channels=channels,
        height=height,
        width=width,
        skip_bad=True,
        compression=compression,
        progress=progress,
    )
    failures = result.failures + problems
    if failures and not skip_bad:
        raise BadImagesError(failures, REMEDY)
    if not result.kept:
        raise BadImagesError(failures, "there is nothing else to read")
    kept = tuple(files[index] for index in result.kept)
    notes = (animation_note(result.animated), compression_note(result.nr_compressed, compression))
    images = ImageSet(
        images=result.images,
        labels=folder_labels(kept, classes),
        classes=classes,
        name="images",
        split="inputs",
        paths=kept,
        origin="images given by name",
        nr_skipped=len(failures),
        notes=tuple(note for note in notes if note),
    )
    return UserImages(images, failures)


def refuse_missing(names: Iterable[Path | str]) -> None:
    """Refuse names none of which stands for a file; names on standard input are not looked at.

    Raises:
        BadImagesError: lists them all with the reasons.
    """
    names = list(names)
    if STANDARD_INPUT in map(str, names):
        return
    problems: list[tuple[Path, str]] = []
    for path, problem in _candidates(names, ()):
        if not problem and os.path.lexists(path):
            return
        problems.append((path, problem or "no such file"))
    raise BadImagesError(problems, "there is nothing else to read")


def folder_labels(paths: Sequence[Path], classes: Sequence[str]) -> Tensor:
    """Labels by folders: an image directly in a folder with the name of a class is known to be of that class.

    Returns:
        int64 (N,), -1 for images in other folders.
    """
    # The absolute path, for an image that is named without its folder lies in one all the same.
    parents = [path.absolute().parent.name for path in paths]
    labels = {name: label for label, name in enumerate(classes)}
    return torch.tensor([labels.get(name, UNLABELLED) for name in parents], dtype=torch.int64)


def _expand(names: Iterable[Path | str], standard_input: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """The image files that the names stand for, each once, and what stands for none, with the reason."""
    seen: set[bytes] = set()  # digests, since the names of a million files would fill the memory
    for path, problem in _candidates(names, standard_input):
        digest = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield path, problem


def _candidates(names: Iterable[Path | str], standard_input: Iterable[str]) -> Iterator[tuple[Path, str]]:
    for name in names:
        if str(name) == STANDARD_INPUT:
            for line in standard_input:
                if listed := line.rstrip("\r\n"):
                    yield from _from_path(Path(listed))
        elif not os.path.lexists(name) and glob.has_magic(str(name)):
            # `**` is no more than `*`: folders are searched to the bottom anyway, and links cannot lead in circles.
            matches = sorted(glob.iglob(str(name)), key=natural_key)
            if not matches:
                yield Path(name), "nothing matches this pattern"
            for match in matches:
                yield from _from_path(Path(match))
        else:
            yield from _from_path(Path(name))


def _from_path(path: Path) -> Iterator[tuple[Path, str]]:
    if not os.path.isdir(path):  # never raises
        yield path, ""
        return
    errors: list[DataError] = []
    empty = True
    for file in iter_images(path, on_error=errors.append):
        empty = False
        yield file, ""
    for error in errors:
        yield path, str(error)
    if empty and not errors:
        yield path, "no images in this folder"
