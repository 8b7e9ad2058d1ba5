"""The manifest of a folder of samples: which images belong to it, what made them, and whether all of them are there.

Each image has an entry with its class, the seed of its noise and its PNG file. In a finished folder of the format "npz"
the images lie in one archive instead, in the order of the entries (see `cpixelcnn.sampling.folder.archive`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_files import GRID, MANIFEST, STRIP, is_image_name
from cpixelcnn.datasets.image_set import UNLABELLED
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.foreign_files import UnreadableFileError, read_json_object
from cpixelcnn.sampling.folder.archive import ARRAYS
from cpixelcnn.sampling.plan import SamplePlan

MANIFEST_VERSION = 2
FORMATS = ("png", "npz")

MOST_BYTES = 1 << 30  # of a manifest: some five million images

_LONGEST_SLUG = 40  # characters, of up to four bytes each: a file name may have 255 bytes


@dataclass(frozen=True)
class Origin:
    """What drew the images of a folder.

    Attributes:
        model: the weight file, for people; the same model may have another path the next time.
        model_sha256: digest of the weight file.
        data: the data that the model was trained on.
        guidance_model_sha256: digest of the unconditional model's weight file, if guidance had one.
    """

    model: str
    model_sha256: str
    data: DataConfig
    guidance_model_sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """One image: its class (-1: none), the seed of its noise, its file, and which image it completes, if any."""

    label: int
    seed: int
    file: str
    given: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What a folder of samples holds, or will hold once it is finished.

    Attributes:
        origin: what drew the images.
        classes: names of the model's classes.
        image_shape: (C, H, W).
        settings: what makes an image again, together with its class and seed; plain JSON types.
        format: "png", a file for each image, or "npz", one archive.
        entries: one for each image.
        finished: whether all images are there.
    """

    origin: Origin
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    settings: dict[str, Any]
    format: str
    entries: tuple[Entry, ...]
    finished: bool = False

    @classmethod
    def of_plan(cls, plan: SamplePlan, origin: Origin, format: str) -> Self:
        """The manifest of a folder that will hold the images of a plan.

        Raises:
            ConfigError: an unknown format.
        """
        if format not in FORMATS:
            raise ConfigError(f"`format` must be {' or '.join(FORMATS)}, but is {format!r}")
        settings: dict[str, Any] = plan.options.to_json()
        if origin.guidance_model_sha256 is not None:
            settings["guidance_model_sha256"] = origin.guidance_model_sha256
        if plan.given is not None:
            settings |= {"from_row": plan.from_row, "given_sha256": _digest(plan.given)}
        files = file_names(plan.config.classes, plan.labels)
        given = plan.given_names or (None,) * len(plan)
        entries = tuple(map(Entry, plan.labels, plan.seeds, files, given))
        return cls(origin, plan.config.classes, plan.image_shape, settings, format, entries)

    @property
    def files(self) -> frozenset[str]:
        """Names of all files that may belong to the folder, beside the manifest itself."""
        archive = {ARRAYS} if self.format == "npz" else set()
        return frozenset({GRID, STRIP} | archive | {entry.file for entry in self.entries})

    def is_finished(self, finished: bool = True) -> Manifest:
        """The same manifest, of a folder that is finished or not."""
        return replace(self, finished=finished)

    def differences(self, other: Manifest) -> list[str]:
        """In what another manifest differs, but for its images and how many of them there are; for people."""
        mine, theirs = self.to_json(), other.to_json()
        names = [name for name in mine if name not in ("model", "finished", "images")]
        return [name.replace("_", " ") for name in names if mine[name] != theirs[name]]

    def to_json(self) -> dict[str, Any]:
        """In plain JSON types."""
        channels, height, width = self.image_shape
        document = {
            "manifest_version": MANIFEST_VERSION,
            "image_channels": channels,
            "image_height": height,
            "image_width": width,
            "model": self.origin.model,
            "model_sha256": self.origin.model_sha256,
            "classes": list(self.classes),
            "data": self.origin.data.to_json(),
            "settings": self.settings,
            "format": self.format,
            "finished": self.finished,
            "images": [self._entry_to_json(entry) for entry in self.entries],
        }
        return dict(json.loads(json.dumps(document, allow_nan=False)))  # as it will be read: tuples become lists

    def _entry_to_json(self, entry: Entry) -> dict[str, Any]:
        name = self.classes[entry.label] if entry.label != UNLABELLED else None
        document: dict[str, Any] = {"class": name, "label": entry.label, "seed": entry.seed}
        if self.format == "png":
            document = {"file": entry.file} | document
        return document if entry.given is None else document | {"given": entry.given}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_json`; raises one of Python's own errors where something is missing or of another type."""
        classes, settings = document["classes"], document["settings"]
        shape = document["image_channels"], document["image_height"], document["image_width"]
        model, digest = document["model"], document["model_sha256"]
        if shape[0] not in (1, 3) or not all(type(size) is int and size > 0 for size in shape):
            raise ValueError("the size of the images is unknown")
        if document["format"] not in FORMATS or not isinstance(document["finished"], bool):
            raise ValueError("unknown whether and how the images are stored")
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise TypeError("classes have names")
        if not isinstance(settings, dict) or not isinstance(model, str) or not isinstance(digest, str):
            raise TypeError("unknown what made the images")
        labels = [image["label"] for image in document["images"]]
        if not all(type(label) is int and UNLABELLED <= label < len(classes) for label in labels):
            raise ValueError("an image of no class")
        seeds = [image["seed"] for image in document["images"]]
        if not all(type(seed) is int for seed in seeds):
            raise TypeError("an image without a seed")
        files = file_names(classes, labels)
        if document["format"] == "png":
            files = [image["file"] for image in document["images"]]
            if not all(_is_plain(name) for name in files):
                raise ValueError("a file outside of the folder, or none of an image")
        given = [image.get("given") for image in document["images"]]
        if not all(name is None or isinstance(name, str) for name in given):
            raise TypeError("a given image without a name")
        origin = Origin(model, digest, DataConfig.from_json(document["data"]))
        entries = tuple(map(Entry, labels, seeds, files, given))
        return cls(origin, tuple(classes), shape, settings, document["format"], entries, document["finished"])


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, or None where there is none.

    Raises:
        DataError: the manifest is of another version, damaged, or none of samples.
    """
    path = folder / MANIFEST
    if not os.path.exists(path):
        return None
    try:
        document = read_json_object(path, MOST_BYTES)
        version = document["manifest_version"]
        if version > MANIFEST_VERSION:
            raise DataError(
                f"{path} has format {version}, newer than this version's {MANIFEST_VERSION}; upgrade cpixelcnn"
            )
        if version != MANIFEST_VERSION:
            raise ValueError("another version")
        return Manifest.from_json(document)
    except (UnreadableFileError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = error.reason if isinstance(error, UnreadableFileError) else type(error).__name__
        raise DataError(
            f"{path} is not a manifest of samples ({reason}); remove it, or choose another folder"
        ) from None


def file_names(classes: Sequence[str], labels: Sequence[int]) -> list[str]:
    """The PNG file of each image, named after its class and number: ``panda-00002.png``."""
    slugs = {label: _slug(classes[label]) if label != UNLABELLED else "sample" for label in set(labels)}
    return [f"{slugs[label]}-{i:05d}.png" for i, label in enumerate(labels)]


def _digest(images: Tensor) -> str:
    """SHA-256 of which images uint8 (N, C, H, W) there are, however often each is repeated."""
    each = {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images.cpu()}
    return hashlib.sha256("".join(sorted(each)).encode()).hexdigest()


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:_LONGEST_SLUG] or "class"


def _is_plain(name: str) -> bool:
    return Path(name).name == name and is_image_name(name) and "\0" not in name
