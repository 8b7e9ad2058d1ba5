"""Folders of generated images: one PNG an image, and a manifest that tells where each came from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cpixelcnn.config import DataConfig
from cpixelcnn.data.finding import GRID, MANIFEST, find_images
from cpixelcnn.data.image_set import UNLABELLED, ImageSet
from cpixelcnn.data.reading import read_images
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.storage import write_json, write_png

MANIFEST_VERSION = 1


@dataclass(frozen=True)
class SampleOrigin:
    """What made a folder of samples: the weight file and its SHA-256, its classes and the data it was trained on."""

    model: str
    model_sha256: str
    classes: tuple[str, ...]
    data: DataConfig


def check_output_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse to mix new samples with old ones.

    Raises:
        ConfigError: the folder holds samples already (and `overwrite` is off), or cannot be written to.
    """
    if not overwrite and any((folder / name).exists() for name in (MANIFEST, GRID)):
        raise ConfigError(f"{folder} holds samples already; pass --overwrite to replace them, or choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written to ({error.strerror}); choose another --out") from None


def write_samples(
    folder: Path, images: Tensor, labels: Tensor, seeds: Sequence[int], origin: SampleOrigin
) -> list[Path]:
    """Write images uint8 (N, C, H, W) as PNG files named after class and number, then the manifest.

    Files that an earlier manifest in this folder lists are removed first, so that the folder holds these samples alone.
    """
    for old in _listed_files(folder):
        (folder / old).unlink(missing_ok=True)
    paths, entries = [], []
    for i, (image, label, seed) in enumerate(zip(images, labels.tolist(), seeds, strict=True)):
        name = origin.classes[label] if label != UNLABELLED else None
        path = folder / f"{_slug(name or 'sample')}-{i:05d}.png"
        write_png(path, image[0].numpy() if image.shape[0] == 1 else image.permute(1, 2, 0).contiguous().numpy())
        paths.append(path)
        entries.append({"file": path.name, "class": name, "label": label, "seed": seed})
    manifest = {
        "manifest_version": MANIFEST_VERSION,
        "image_channels": images.shape[1],
        "model": origin.model,
        "model_sha256": origin.model_sha256,
        "classes": list(origin.classes),
        "data": origin.data.to_json(),
        "images": entries,
    }
    write_json(folder / MANIFEST, manifest)
    return paths


def read_samples(folder: Path) -> tuple[ImageSet, DataConfig | None]:
    """The images of a folder at their own size, and the data set that the manifest names (None without a manifest).

    With a manifest exactly the images it lists are read, otherwise every image in the folder and below it.

    Raises:
        DataError: no such folder, no images, images of several sizes, or files of the manifest that are missing.
    """
    if not folder.is_dir():
        raise DataError(f"--samples {folder}: there is no such folder; make one with: cpixelcnn sample --out {folder}")
    manifest = _read_manifest(folder)
    if manifest is None:
        paths, labels, classes = find_images(folder), None, ()
    else:
        paths = [folder / entry["file"] for entry in manifest["images"]]
        labels = torch.tensor([entry["label"] for entry in manifest["images"]], dtype=torch.int64)
        classes = tuple(manifest["classes"])
    if not paths:
        raise DataError(
            f"--samples {folder}: there are no images in it; make some with: cpixelcnn sample --out {folder}"
        )
    channels = manifest["image_channels"] if manifest else 3
    read = read_images(paths, channels=channels, height=None, width=None)
    if labels is None:
        labels = torch.full((len(paths),), UNLABELLED)
    images = ImageSet(read.images, labels, classes, str(folder), "samples", tuple(paths))
    return images, DataConfig.from_json(manifest["data"]) if manifest else None


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["manifest_version"] > MANIFEST_VERSION:
            raise DataError(
                f"{path} has format {manifest['manifest_version']}, newer than this version's {MANIFEST_VERSION}; "
                "upgrade cpixelcnn"
            )
        _check_manifest(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a manifest of samples ({type(error).__name__}); make the samples anew"
        ) from None
    return dict(manifest)


def _check_manifest(manifest: dict[str, Any]) -> None:
    """Raise one of Python's own errors unless everything that is read later is there."""
    if manifest["image_channels"] not in (1, 3):
        raise ValueError("images have 1 or 3 channels")
    for entry in manifest["images"]:
        if Path(entry["file"]).name != entry["file"]:
            raise ValueError("a file outside of the folder")
        _ = entry["label"], entry["seed"]
    DataConfig.from_json(manifest["data"])


def _listed_files(folder: Path) -> list[str]:
    try:
        manifest = _read_manifest(folder)
    except DataError:
        return []
    return [entry["file"] for entry in manifest["images"]] if manifest else []


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "class"
