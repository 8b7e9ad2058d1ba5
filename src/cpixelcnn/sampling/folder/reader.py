"""Reading generated images: a folder with a manifest, a folder of any images, or an npz archive.

Folders are written by `cpixelcnn.sampling.folder.store`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_files import find_images
from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.datasets.reading import read_images
from cpixelcnn.errors import BadImagesError, DataError
from cpixelcnn.sampling.folder.archive import ARRAYS, SUFFIX, read_arrays
from cpixelcnn.sampling.folder.manifest import Manifest, read_manifest


def read_samples(path: Path) -> tuple[ImageSet, DataConfig | None]:
    """Generated images at their own size, and the data set that their manifest names (None without a manifest).

    A folder with a manifest has exactly the images that it lists, any other folder all images in it and below it, which
    are unlabelled. An npz archive with `arr_0` needs no manifest; its labels are numbers of classes without names.

    Raises:
        DataError: nothing there, no images, images of several sizes, a folder that is not finished, or files that are
            missing or damaged.
    """
    require_samples(path)
    if path.is_dir():
        manifest = read_manifest(path)
        images = _find_samples(path) if manifest is None else _listed_samples(path, manifest)
    else:
        if _is_of_its_folder(path):
            return read_samples(path.parent)
        manifest, images = None, _archived_samples(path)
    if not len(images):
        raise _no_images(path)
    return images, manifest.origin.data if manifest else None


def require_samples(path: Path) -> None:
    """Refuse a path that cannot be samples, before anything is read.

    Raises:
        DataError: nothing there, or neither a folder nor an archive.
    """
    archive = path.suffix.lower() == SUFFIX
    if path.is_dir() or (archive and path.is_file()):
        return
    if path.exists():
        raise DataError(f"--samples {path} is neither a folder nor an {SUFFIX} file of images; name one of these")
    kind = "file" if archive else "folder"
    raise DataError(f"--samples {path}: there is no such {kind}; make samples with: cpixelcnn sample --out FOLDER")


def read_listed(folder: Path, manifest: Manifest, indices: Sequence[int] | None = None) -> Tensor:
    """The images of a manifest, or some of them, uint8 (N, C, H, W), whether the folder is finished or not.

    Raises:
        DataError: images are missing, damaged, or of another size than the manifest says.
    """
    indices = range(len(manifest.entries)) if indices is None else indices
    if is_packed(manifest):
        images = read_arrays(folder / ARRAYS)[0]
        expected = (len(manifest.entries), *manifest.image_shape)
    else:
        try:
            paths = [folder / manifest.entries[i].file for i in indices]
            images = read_images(paths, channels=manifest.image_shape[0], height=None, width=None).images
        except BadImagesError as error:
            remedy = "delete them, then run the same cpixelcnn sample command again"
            raise BadImagesError(error.failures, remedy) from None
        expected = (len(indices), *manifest.image_shape)
    if len(images) + len(indices) and tuple(images.shape) != expected:
        raise DataError(
            f"the images in {folder} are {tuple(images.shape)}, but its manifest says {expected} (N, C, H, W); "
            "make them anew with: cpixelcnn sample --overwrite"
        )
    return images[list(indices)] if is_packed(manifest) else images.view(-1, *manifest.image_shape)


def is_packed(manifest: Manifest) -> bool:
    """Whether the images lie in the archive; until a folder is finished, they are PNG files in any format."""
    return manifest.format == "npz" and manifest.finished


def drawn_images(folder: Path, manifest: Manifest) -> set[int]:
    """Which images of a manifest the folder holds: writing is atomic, so that a file that is there is whole."""
    if is_packed(manifest):
        return set(range(len(manifest.entries))) if (folder / ARRAYS).exists() else set()
    with os.scandir(folder) as files:
        names = {file.name for file in files if file.is_file()}
    return {i for i, entry in enumerate(manifest.entries) if entry.file in names}


def require_all(folder: Path, manifest: Manifest) -> None:
    """Refuse a folder without all of its images.

    Raises:
        DataError: says how many there are, and what to do.
    """
    nr_drawn, n = len(drawn_images(folder, manifest)), len(manifest.entries)
    if nr_drawn < n:
        raise _unfinished(folder, nr_drawn, n)


def _listed_samples(folder: Path, manifest: Manifest) -> ImageSet:
    entries = manifest.entries
    if not manifest.finished:
        raise _unfinished(folder, len(drawn_images(folder, manifest)), len(entries))
    labels = torch.tensor([entry.label for entry in entries], dtype=torch.int64)
    paths = tuple(folder / entry.file for entry in entries) if manifest.format == "png" else None
    return ImageSet(read_listed(folder, manifest), labels, manifest.classes, str(folder), "samples", paths)


def _is_of_its_folder(path: Path) -> bool:
    """Whether the manifest beside an archive tells of it."""
    with suppress(DataError):  # an archive needs no manifest, and so none that can be read
        manifest = read_manifest(path.parent)
        return path.name == ARRAYS and manifest is not None and is_packed(manifest)
    return False


def _find_samples(folder: Path) -> ImageSet:
    paths = find_images(folder)
    if not paths:
        raise _no_images(folder)
    images = read_images(paths, channels=3, height=None, width=None).images
    return ImageSet(images, torch.full((len(paths),), UNLABELLED), (), str(folder), "samples", tuple(paths))


def _archived_samples(path: Path) -> ImageSet:
    images, labels = read_arrays(path, f"name an {SUFFIX} file with arr_0, and labels if there are any")
    if labels is None:
        labels = torch.full((len(images),), UNLABELLED)
    return ImageSet(images, labels, (), str(path), "samples")


def _no_images(path: Path) -> DataError:
    return DataError(f"--samples {path}: there are no images in it; make some with: cpixelcnn sample --out FOLDER")


def _unfinished(folder: Path, nr_drawn: int, n: int) -> DataError:
    return DataError(
        f"{folder} holds {nr_drawn} of {n} images and is not finished; "
        "run the same cpixelcnn sample command again, without --overwrite, to finish them"
    )
