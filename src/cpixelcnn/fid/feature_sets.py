"""Features of a set of images with their labels, and the files that keep them: a reference without its images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet, find_class
from cpixelcnn.datasets.splits import balanced_subset
from cpixelcnn.errors import DataError, first_line
from cpixelcnn.fid.features import FeatureNetwork
from cpixelcnn.foreign_files import UnreadableFileError, read_arrays
from cpixelcnn.storage import atomic_path

_LARGEST = 1 << 30  # bytes of a file, also once expanded; 50,000 images of 2,048 features take 410 million
# The arrays of a file: kinds of numbers or text, and dimensions.
_KINDS = {
    "features": ("f", 2),
    "labels": ("iu", 1),
    "classes": ("U", 1),
    "name": ("U", 0),
    "image_size": ("U", 0),
    "weights_digest": ("U", 0),
}


Real = TypeVar("Real", bound="ImageSet | FeatureSet")


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of N images.

    Attributes:
        features: float32 (N, D).
        labels: int64 (N,), indices into `classes`; -1 is an image whose class is not known.
        classes: names of the classes; empty where they have none.
        name: what the images are, such as "cpen455 test".
        image_size: such as "32x32 RGB".
    """

    features: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    image_size: str

    @classmethod
    def of(cls, image_set: ImageSet, features: Tensor) -> FeatureSet:
        """The features of these images."""
        name = f"{image_set.name} {image_set.split}"
        return cls(features, image_set.labels, image_set.classes, name, size_of(image_set))

    def __len__(self) -> int:
        return len(self.features)

    def __str__(self) -> str:
        return f"{len(self)} images of {self.name} ({self.image_size})"

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return len(self) > 0 and bool((self.labels != UNLABELLED).all())

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Labelled images of each class."""
        known = self.labels[self.labels != UNLABELLED]
        return tuple(torch.bincount(known, minlength=len(self.classes)).tolist())

    def select(self, indices: Tensor) -> FeatureSet:
        """The features of the images at these indices, or where a mask is true."""
        return replace(self, features=self.features[indices], labels=self.labels[indices])


def size_of(image_set: ImageSet) -> str:
    """Width, height and colours of images, for people."""
    channels, height, width = image_set.images.shape[1:]
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"


def in_classes(real: Real, classes: tuple[str, ...]) -> Real:
    """The same with labels that are indices into these classes, found by name; unchanged where some are not there."""
    if classes in ((), real.classes) or not real.classes:
        return real
    found = [find_class(name, classes) for name in real.classes]
    indices = [index for index in found if index is not None]
    if len(set(indices)) < len(found):
        return real
    labels = torch.where(real.labels == UNLABELLED, UNLABELLED, torch.tensor(indices)[real.labels])
    return replace(real, labels=labels, classes=classes)


def as_many(
    real: ImageSet | FeatureSet | None, labels: Tensor, classes: tuple[str, ...]
) -> ImageSet | FeatureSet | None:
    """As many real images as there are samples: of each class as many, where both sides know their classes.

    Where they do not, the images are spread evenly over the classes. The first images are taken, and all there are
    where there are too few.

    Args:
        real: images or their features; the result is of the same kind.
        labels, classes: of the samples.

    Returns:
        None without images, or where there are fewer than two on either side.
    """
    if real is None or min(len(real), len(labels)) < 2:
        return None
    real = in_classes(real, classes)
    if real.labelled and real.classes == classes and bool((labels != UNLABELLED).all()):
        members = [torch.nonzero(real.labels == label)[:, 0] for label in range(len(classes))]
        counts = torch.bincount(labels, minlength=len(classes)).tolist()
        indices = torch.cat([of_class[:n] for of_class, n in zip(members, counts, strict=True)]).sort().values
    else:
        indices = balanced_subset(real.labels, len(labels))
    if len(indices) < 2:
        return None
    return real if len(indices) == len(real) else real.select(indices)


def save_features(path: Path, feature_set: FeatureSet, network: FeatureNetwork) -> None:
    """Write features and whose they are to an npz file that can be a reference; atomic.

    Raises:
        DataError: the file cannot be written.
    """
    arrays: dict[str, Any] = {
        "features": feature_set.features.numpy(),
        "labels": feature_set.labels.numpy(),
        "classes": np.array(feature_set.classes, dtype=np.str_),
        "name": np.array(feature_set.name),
        "image_size": np.array(feature_set.image_size),
        "weights_digest": np.array(network.weights_digest),
    }
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error}); choose another place") from None


def load_features(path: Path, network: FeatureNetwork) -> FeatureSet:
    """Read a file of `save_features`. Pickled objects are never loaded.

    Raises:
        DataError: names the file and what is wrong with it, also where its features are of another network.
    """
    try:
        arrays = read_arrays(path, tuple(_KINDS), most_bytes=_LARGEST)
        _check_arrays(arrays)
        feature_set = FeatureSet(
            torch.from_numpy(arrays["features"]).float(),
            torch.from_numpy(arrays["labels"]).long(),
            tuple(arrays["classes"].tolist()),
            str(arrays["name"]),
            str(arrays["image_size"]),
        )
        if str(arrays["weights_digest"]) != network.weights_digest:
            raise ValueError(f"they are of other weights than those of {network.name} here")
        _check(feature_set, network.dims)
    except UnreadableFileError as error:
        raise DataError(f"{path} is not a sound file of features ({error.reason})") from None
    except ValueError as error:
        raise DataError(f"{path} is not a sound file of features ({first_line(error, 120)})") from None
    return feature_set


def _check_arrays(arrays: dict[str, NDArray[Any]]) -> None:
    for name, (kinds, dimensions) in _KINDS.items():
        if name not in arrays:
            raise ValueError(f"it has no {name}")
        if arrays[name].dtype.kind not in kinds or arrays[name].ndim != dimensions:
            raise ValueError(f"{name} is {arrays[name].dtype} {arrays[name].shape}")


def _check(feature_set: FeatureSet, dims: int) -> None:
    n = len(feature_set)
    if feature_set.features.shape != (n, dims):
        raise ValueError(f"features are {tuple(feature_set.features.shape)}, not (N, {dims})")
    if not bool(feature_set.features.isfinite().all()):
        raise ValueError("features are not finite")
    labels = feature_set.labels
    if labels.shape != (n,) or bool((labels < UNLABELLED).any()):
        raise ValueError("labels are not one whole number an image, -1 or more")
    if feature_set.classes and bool((labels >= len(feature_set.classes)).any()):
        raise ValueError("a label has no class")
