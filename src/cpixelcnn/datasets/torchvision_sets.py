"""CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, in the files that torchvision reads and fetches.

Torchvision has no validation split for them, so one is drawn from the training images.

CIFAR's files are pickles. ``torchvision.datasets.CIFAR10`` compares the MD5 digest of each with the published one
before it unpickles it (``_check_integrity`` for the images, ``_load_meta`` for the names of the classes), so that
nothing but the original is ever unpickled. MNIST's files are plain arrays; an ancient cached form of them is a pickle,
which torchvision reads with ``weights_only=True``.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cpixelcnn.datasets.decoding import fit_images
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.listing import SplitRequest
from cpixelcnn.datasets.splits import derive_split
from cpixelcnn.errors import ConfigError, DataError


@dataclass(frozen=True)
class _Source:
    """A data set as torchvision knows it: the name of its class, and where its files lie below the data directory."""

    kind: str
    folder: str


SOURCES = {
    "cifar10": _Source("CIFAR10", "cifar-10-batches-py"),
    "cifar100": _Source("CIFAR100", "cifar-100-python"),
    "mnist": _Source("MNIST", "MNIST/raw"),
    "fashion-mnist": _Source("FashionMNIST", "FashionMNIST/raw"),
}


def load_torchvision(request: SplitRequest) -> ImageSet:
    """Load one split of one of `SOURCES`.

    Raises:
        DataError: the files are missing or damaged and not to be downloaded, or the download failed.
        ConfigError: torchvision is not installed.
    """
    name = request.config.dataset
    stored = _open(request, train=request.split != "test")
    classes = _class_names(name, stored)
    pixels = torch.as_tensor(stored.data)  # (N, H, W) grey or (N, H, W, 3)
    images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    labels = torch.as_tensor(stored.targets, dtype=torch.int64)
    if len(images) != len(labels) or not set(labels.tolist()) <= set(range(len(classes))):
        raise DataError(
            f"the {name} files in {request.directory} are damaged ({len(images)} images, {len(labels)} labels, "
            f"or labels of no class); delete them and pass --download"
        )
    origin = f"test images of {name}"
    if request.split != "test":
        part = derive_split(labels, request.split, ("validation",), request.config, f"training images of {name}")
        images, labels, origin = images[part.indices], labels[part.indices], part.origin
    images = fit_images(images, height=request.size, width=request.size, progress=request.progress)
    return ImageSet(images, labels, classes, name, request.split, origin=origin)


def _class_names(name: str, stored: Any) -> tuple[str, ...]:
    # Torchvision calls the digits "0 - zero" and so on, which is no name to type on a command line.
    return tuple(str(digit) for digit in range(10)) if name == "mnist" else tuple(stored.classes)


def _open(request: SplitRequest, train: bool) -> Any:
    """Torchvision's data set, downloaded first where it has to be and may be."""
    try:
        from torchvision import datasets
    except ImportError as error:
        raise ConfigError(
            f"--dataset {request.config.dataset} needs torchvision; install it with: pip install torchvision"
        ) from error
    source = SOURCES[request.config.dataset]
    kind = getattr(datasets, source.kind)
    stored = _read(kind, request.directory, train)
    if stored is None and request.download:
        _download(kind, request)
        stored = _read(kind, request.directory, train)
    if stored is None:
        folder = request.directory / source.folder
        found = "incomplete or damaged" if os.path.exists(folder) else "missing"
        raise DataError(
            f"the {request.config.dataset} files are {found} in {folder}; "
            f"pass --download, or put the original files there"
        )
    return stored


def _read(kind: Any, root: Path, train: bool) -> Any | None:
    """The data set, or None where its files are missing or damaged (MNIST's raise whatever their parsing runs into)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CIFAR's pickles are of a NumPy so old that today's warns of them
            return kind(root, train=train, download=False)
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, pickle.UnpicklingError):
        return None


def _download(kind: Any, request: SplitRequest) -> None:
    """Download into a folder of its own and move the complete files into place.

    So neither an interrupted download nor two processes that start together leave half a file where a whole one is
    expected. An archive that is there already is used if it is sound (torchvision compares its digest).
    """
    root = request.directory
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as name:
            temporary = Path(name)
            for archive in _archives(kind):
                if os.path.isfile(root / archive):
                    (temporary / archive).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(root / archive, temporary / archive)
            kind(temporary, download=True)
            for file in [path for path in temporary.rglob("*") if path.is_file()]:
                target = root / file.relative_to(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except (OSError, RuntimeError) as error:  # a URLError is an OSError
        raise DataError(
            f"{request.config.dataset} could not be downloaded to {root} ({' '.join(str(error).split())}); "
            f"check the network, or put the original files there"
        ) from error


def _archives(kind: Any) -> list[Path]:
    """What torchvision downloads, as paths below its root."""
    if hasattr(kind, "filename"):
        return [Path(kind.filename)]
    return [Path(kind.__name__, "raw", name) for name, _ in kind.resources]
