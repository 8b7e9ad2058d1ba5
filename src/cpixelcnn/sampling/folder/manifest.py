"""The manifest of a folder of samples: which images belong to it, what made each, and whether all of them are there.

Beside what made all of them (`model`, `settings`, ...) it has an entry for each image: its class, the seed of its
noise, and the file that holds it. With the format "npz" there are no such files: the images lie in one archive, in the
order of the entries (see `cpixelcnn.sampling.folder.archive`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_files import GRID, MANIFEST, is_image_name
from cpixelcnn.datasets.image_set import UNLABELLED
from cpixelcnn.errors import DataError
from cpixelcnn.sampling.folder.archive import ARRAYS

MANIFEST_VERSION = 2
FORMATS = ("png", "npz")

# What a manifest of version 1 does not say: it was written after the images, and these were PNG files of one size.
_VERSION_1 = {"format": "png", "finished": True, "settings": {}, "image_height": None, "image_width": None}

_LONGEST_SLUG = 40  # characters, of up to four bytes each: a file name may have 255 bytes


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, or None where there is none; one of version 1 is given the keys that came later.

    Raises:
        DataError: the manifest is of a newer version, damaged, or none of samples.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["manifest_version"]
        if version > MANIFEST_VERSION:
            raise DataError(
                f"{path} has format {version}, newer than this version's {MANIFEST_VERSION}; upgrade cpixelcnn"
            )
        if version == 1:
            manifest = _VERSION_1 | manifest
        _check(manifest)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} is not a manifest of samples ({type(error).__name__}); remove it, or choose another folder"
        ) from None
    return dict(manifest)


def file_names(classes: Sequence[str], labels: Sequence[int]) -> list[str]:
    """The PNG file of each image, named after its class and number: ``panda-00002.png``."""
    width = max(5, len(str(len(labels) - 1)))
    slugs = {label: _slug(classes[label]) if label != UNLABELLED else "sample" for label in set(labels)}
    return [f"{slugs[label]}-{i:0{width}d}.png" for i, label in enumerate(labels)]


def listed_files(manifest: dict[str, Any]) -> set[str]:
    """Names of all files in the folder that belong to a manifest, once it is finished, beside the manifest itself."""
    if manifest["format"] == "npz":
        return {ARRAYS, GRID}
    return {GRID, *(entry["file"] for entry in manifest["images"])}


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:_LONGEST_SLUG] or "class"


def _check(manifest: dict[str, Any]) -> None:
    """Raise one of Python's own errors unless everything that is read later is there and of its kind."""
    height, width = manifest["image_height"], manifest["image_width"]
    sized = manifest["manifest_version"] == 1 or (type(height) is type(width) is int and min(height, width) > 0)
    if manifest["image_channels"] not in (1, 3) or not sized:
        raise ValueError("the size of the images is unknown")
    if manifest["format"] not in FORMATS or not isinstance(manifest["finished"], bool):
        raise ValueError("unknown whether and how the images are stored")
    if not all(isinstance(name, str) for name in manifest["classes"]):
        raise TypeError("classes have names")
    if not isinstance(manifest["settings"], dict) or not isinstance(manifest["model_sha256"], str):
        raise TypeError("unknown what made the images")
    for entry in manifest["images"]:
        label, seed = entry["label"], entry["seed"]
        if type(label) is not int or type(seed) is not int or not UNLABELLED <= label < len(manifest["classes"]):
            raise ValueError("an image of no class or without a seed")
        if manifest["format"] == "png" and not _is_plain(entry["file"]):
            raise ValueError("a file outside of the folder, or none of an image")
    DataConfig.from_json(manifest["data"])


def _is_plain(name: str) -> bool:
    return Path(name).name == name and is_image_name(name) and "\0" not in name
