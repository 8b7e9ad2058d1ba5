"""CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, in the files that torchvision fetches.

Torchvision has no validation split for them, so one is drawn from the training images.

CIFAR's files are pickles. ``torchvision.datasets.CIFAR10`` compares the MD5 digest of each with the published one
before it unpickles it (``_check_integrity`` for the images, ``_load_meta`` for the names of the classes), so that
nothing but the original is ever unpickled. MNIST's files are plain arrays, which `idx` reads in any of the forms in
which they are spread; torchvision's ancient cache of them, a pickle, is never opened.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cpixelcnn.datasets.decoding import fit_images
from cpixelcnn.datasets.idx import read_idx_split
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.listing import SplitRequest
from cpixelcnn.datasets.splits import derive_split
from cpixelcnn.errors import ConfigError, DataError


@dataclass(frozen=True)
class _Source:
    """A data set as torchvision knows it.

    Attributes:
        kind: the name of its class.
        folder: where its files lie below the data directory.
        classes: names of the classes; empty where a file names them.
    """

    kind: str
    folder: str
    classes: tuple[str, ...] = ()


CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


SOURCES = {
    "cifar10": _Source("CIFAR10", "cifar-10-batches-py"),
    "cifar100": _Source("CIFAR100", "cifar-100-python"),
    "mnist": _Source("MNIST", "MNIST/raw", tuple("0123456789")),
    "fashion-mnist": _Source("FashionMNIST", "FashionMNIST/raw", CLOTHES),
}


def load_torchvision(request: SplitRequest) -> ImageSet:
    """Load one split of one of `SOURCES`.

    Raises:
        DataError: the files are missing or damaged and not to be downloaded, or the download failed.
        ConfigError: torchvision is not installed.
    """
    name = request.config.dataset
    stored = _open(request, "test" if request.split == "test" else "train")
    images, labels, classes = stored.images, stored.labels, stored.classes
    if len(images) != len(labels) or not set(labels.tolist()) <= set(range(len(classes))):
        raise DataError(
            f"the {name} files in {request.directory} are damaged ({len(images)} images, {len(labels)} labels, "
            f"or labels of no class); delete them and pass `download`"
        )
    origin = f"test images of {name}"
    if request.split != "test":
        part = derive_split(labels, request.split, ("validation",), request.config, f"training images of {name}")
        images, labels, origin = images[part.indices], labels[part.indices], part.origin
    images = fit_images(
        images, height=request.size, width=request.size, channels=request.channels, progress=request.progress
    )
    return ImageSet(images, labels, classes, name, request.split, origin=origin)


class _Stored(NamedTuple):
    """Images uint8 (N, C, H, W), their labels int64 (N,) and the names of the classes, as the files have them."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


def _open(request: SplitRequest, split: str) -> _Stored:
    """The images of one part, downloaded first where they have to be and may be."""
    name, source = request.config.dataset, SOURCES[request.config.dataset]
    stored, reason = _read(name, request.directory, split)
    if stored is None and request.download:
        _download(getattr(_torchvision(name), source.kind), request)
        stored, reason = _read(name, request.directory, split)
    if stored is None:
        folder = request.directory / source.folder
        found = "incomplete or damaged" if reason or os.path.exists(folder) else "missing"
        raise DataError(
            f"the {name} files are {found} in {folder}{f' ({reason})' if reason else ''}; "
            f"pass `download`, or put the original files there"
        )
    return stored


def _torchvision(name: str) -> Any:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise ConfigError(f"the data set {name} needs torchvision; install it with: pip install torchvision") from error
    return datasets


def _read(name: str, root: Path, split: str) -> tuple[_Stored | None, str]:
    """The images, or None with the reason, empty where there are no files."""
    source = SOURCES[name]
    if source.classes:
        try:
            arrays = read_idx_split(root, source.kind, split)
        except DataError as error:
            return None, str(error).split(";")[0]
        if arrays is None:
            return None, ""
        images, labels = map(torch.from_numpy, arrays)
        return _Stored(images[:, None], labels.to(torch.int64), source.classes), ""
    kind = getattr(_torchvision(name), source.kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CIFAR's pickles are of a NumPy so old that today's warns of them
            stored = kind(root, train=split == "train", download=False)
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, pickle.UnpicklingError):
        return None, ""
    images = torch.as_tensor(stored.data).permute(0, 3, 1, 2).contiguous()  # from (N, H, W, 3)
    return _Stored(images, torch.as_tensor(stored.targets, dtype=torch.int64), tuple(stored.classes)), ""


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
