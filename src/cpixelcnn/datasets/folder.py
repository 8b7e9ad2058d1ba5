"""A folder of images with one sub-folder per class, in either of two layouts.

``DIR/cat/*.png DIR/dog/*.png``: validation and test are held out from these images.
``DIR/train/cat/*.png ... DIR/validation/cat/*.png ... DIR/test/...``: the folders are the splits (``val`` will do for
``validation``); one that is missing is held out from ``train``. ``validation`` and ``test`` may also hold images
without class folders, whose classes are then not known.

Classes are sorted by name, numbers in names as numbers (``class2`` before ``class10``).
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from cpixelcnn.datasets.image_files import find_images, subfolders
from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.datasets.listing import Listing, SplitRequest
from cpixelcnn.datasets.splits import derive_split
from cpixelcnn.errors import DataError, plural

NAMES_OF_SPLITS = {"validation": ("validation", "val"), "test": ("test",)}


def load_folder(request: SplitRequest) -> ImageSet:
    """Load one split of a folder of images.

    Raises:
        DataError: the folder has neither layout; the message names what is in the way.
        BadImagesError: image files that cannot be used.
        ConfigError: see `derive_split`.
    """
    root = request.directory
    has_splits = _has_splits(root)
    pool = root / "train" if has_splits else root
    classes = _class_names(pool)
    held_out = _split_folders(root) if has_splits else {}
    if request.split in held_out:
        return _list_held_out(held_out[request.split], classes, pool).read(request)
    listing = _list_classes(pool, classes)
    missing = [split for split in NAMES_OF_SPLITS if split not in held_out]
    part = derive_split(listing.labels, request.split, missing, request.config, listing.origin)
    return listing.select(part.indices, part.origin).read(request)


def _has_splits(root: Path) -> bool:
    """Whether ``train`` is a split. Beside ``car`` and ``plane``, and full of pictures, it is a class."""
    names = {folder.name for folder in subfolders(root)}
    only_splits = names <= {"train"}.union(*NAMES_OF_SPLITS.values())
    return "train" in names and (only_splits or bool(subfolders(root / "train")))


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of validation and test, where there are such."""
    found = {}
    for split, names in NAMES_OF_SPLITS.items():
        folders = [root / name for name in names if os.path.isdir(root / name)]
        if len(folders) > 1:
            raise DataError(f"{root} has both {' and '.join(f.name for f in folders)}; remove or merge one of them")
        if folders:
            found[split] = folders[0]
    return found


def _class_names(pool: Path) -> tuple[str, ...]:
    classes = tuple(folder.name for folder in subfolders(pool))
    loose = find_images(pool, recursive=False)
    if not classes:
        found = f"{plural(len(loose), 'image')} but no folders" if loose else "no folders"
        raise DataError(f"{pool} has {found}; put the images of each class into a sub-folder named after the class")
    if loose:
        raise DataError(
            f"{pool} has {plural(len(loose), 'image')} beside its class folders, such as {loose[0].name}; move them "
            "into the folder of their class or out of the way"
        )
    return classes


def _list_classes(folder: Path, classes: tuple[str, ...]) -> Listing:
    """The images of these class folders of a folder."""
    files = [find_images(folder / name) for name in classes]
    empty = [name for name, found in zip(classes, files, strict=True) if not found]
    if empty:
        noun = "class folder" if len(empty) == 1 else "class folders"
        raise DataError(f"the {noun} {', '.join(empty)} of {folder} have no images; add some or remove the folders")
    labels = [label for label, found in enumerate(files) for _ in found]
    return Listing(tuple(path for found in files for path in found), torch.tensor(labels), classes, str(folder))


def _list_held_out(folder: Path, classes: tuple[str, ...], pool: Path) -> Listing:
    """The images of a validation or test folder, whose class folders are some of the training's, or none."""
    if not subfolders(folder):
        files = tuple(find_images(folder))
        return Listing(files, torch.full((len(files),), UNLABELLED), classes, f"{folder} (classes not known)")
    names = _class_names(folder)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise DataError(f"{folder} has classes that {pool} has not ({', '.join(unknown)}); rename or remove them")
    listing = _list_classes(folder, names)
    places = torch.tensor([classes.index(name) for name in names])
    return Listing(listing.paths, places[listing.labels], classes, listing.origin)
