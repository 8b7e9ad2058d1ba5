"""The one form in which images live in memory: 8-bit tensors with labels, class names and where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.datasets.arrays import UNLABELLED, check_images, check_labels, image_tensor, label_tensor
from cpixelcnn.datasets.splits import stratified_split
from cpixelcnn.errors import ConfigError, DataError

__all__ = ["UNLABELLED", "ImageSet", "match_classes"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one split of a data set.

    `len(image_set)` is the number of images, ``image_set[3]`` one image with its label, ``image_set[:10]`` and
    ``image_set[[5, 2]]`` are image sets.

    Attributes:
        images: uint8 (N, C, H, W), with one channel (grey) or three (RGB).
        labels: int64 (N,), indices into `classes`; -1 is an image whose class is not known.
        classes: names of the classes; empty where they have none.
        name: the data set, such as "cpen455".
        split: "train", "validation" or "test".
        paths: the file of each image, or None where images have no files.
        origin: one sentence on how the split came about, for people.
        nr_skipped: bad files that were left out on request.
        notes: sentences for people on what was done to the images or their labels that they may not expect.
        crops: K crops of each photograph at the same size, uint8 (K, N, C, H, W), where they were read (`with_crops`).

    Raises:
        DataError: the tensors are not of these types and shapes, a label has no class, or two classes have one name.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    split: str
    paths: tuple[Path, ...] | None = None
    origin: str = ""
    nr_skipped: int = 0
    notes: tuple[str, ...] = ()
    crops: Tensor | None = None

    def __post_init__(self) -> None:
        check_images(self.images)
        check_labels(self.labels, len(self.images), self.classes)
        if self.paths is not None and len(self.paths) != len(self.images):
            raise DataError(f"paths must be one for each of the {len(self.images)} images, but are {len(self.paths)}")
        if self.crops is not None and self.crops.shape[1:] != self.images.shape:
            raise DataError(
                f"crops must be of images of shape {tuple(self.images.shape)}, but are of {tuple(self.crops.shape[1:])}"
            )

    @classmethod
    def from_arrays(
        cls,
        images: NDArray[Any] | Tensor,
        labels: Sequence[int] | NDArray[Any] | Tensor | None = None,
        classes: Sequence[str] | None = None,
        name: str = "arrays",
        split: str = "train",
    ) -> ImageSet:
        """An image set from arrays of NumPy or torch, which are copied.

        Args:
            images: uint8, either (N, H, W) for grey images, or (N, C, H, W) or (N, H, W, C) with C = 1 (grey) or 3
                (RGB). The axis with 1 or 3 entries is that of the channels; where both could be, the order is
                ambiguous, and `ImageSet` itself takes (N, C, H, W).
            labels: N integers, -1 where the class is not known; None if no class is known.
            classes: names of the classes, in the order of their labels; "0", "1", ... unless given.
            name: what the data set is called.
            split: "train", "validation" or "test".

        Raises:
            DataError: arrays of another type or shape, labels without a class, or classes without a name of their own.

        >>> squares = np.zeros((6, 8, 8), dtype=np.uint8)
        >>> ImageSet.from_arrays(squares, [0, 1, 0, 1, 0, 1], ["black", "ink"]).images.shape
        torch.Size([6, 1, 8, 8])
        """
        pixels = image_tensor(images)
        numbers = torch.full((len(pixels),), UNLABELLED) if labels is None else label_tensor(labels)
        if classes is None:
            classes = [str(label) for label in range(int(numbers.max()) + 1)] if len(numbers) else []
        return cls(pixels, numbers, tuple(classes), name, split, origin="arrays given from Python")

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, int]: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any] | Tensor) -> ImageSet: ...

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[Any] | Tensor) -> tuple[Tensor, int] | ImageSet:
        """One image uint8 (C, H, W) with its label, or the image set of several (a slice, indices or a mask)."""
        if isinstance(index, int | np.integer):
            return self.images[int(index)], int(self.labels[index])
        return self.select(torch.arange(len(self))[index])

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return len(self) > 0 and bool((self.labels != UNLABELLED).all())

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Labelled images of each class."""
        known = self.labels[self.labels != UNLABELLED]
        return tuple(torch.bincount(known, minlength=len(self.classes)).tolist())

    def select(self, indices: Tensor) -> ImageSet:
        """The images at these indices, in this order."""
        paths = None if self.paths is None else tuple(self.paths[i] for i in indices.tolist())
        crops = None if self.crops is None else self.crops[:, indices]
        return replace(self, images=self.images[indices], labels=self.labels[indices], paths=paths, crops=crops)

    def stratified_split(
        self, fraction: float, seed: int = 0, names: tuple[str, str] = ("train", "validation")
    ) -> tuple[ImageSet, ImageSet]:
        """Divide the images in two, class by class, in a way that depends on the seed alone.

        Args:
            fraction: how much of each class goes to the second part, between 0 and 1.
            seed: another seed is another division.
            names: what the parts are called as splits.

        Raises:
            ConfigError: the fraction is not between 0 and 1.
        """
        if not 0 < fraction < 1:
            raise ConfigError(f"fraction must be between 0 and 1, but is {fraction}")
        parts = stratified_split(self.labels, fraction, seed)
        how = f"{fraction:.3g} of each class, seed {seed}"
        origins = (f"{self.name} without {names[1]} ({how})", f"held out from {self.name} ({how})")
        first, second = (
            replace(self.select(indices), split=split, origin=origin)
            for indices, split, origin in zip(parts, names, origins, strict=True)
        )
        return first, second

    def require_labels(self, purpose: str) -> None:
        """Refuse images without labels.

        Raises:
            DataError: names the split, how many images lack a label, and what they were needed for.
        """
        missing = int((self.labels == UNLABELLED).sum())
        if missing:
            raise DataError(
                f"{missing} of the {len(self)} images of {self.name} ({self.split}) have no label, "
                f"and {purpose} needs them; choose a labelled split"
            )


def match_classes(image_set: ImageSet, classes: Sequence[str]) -> ImageSet:
    """The same images with labels that are indices into these classes, which are found by name.

    A data set may have its classes in another order, with other capitals (which is noted), or only some of them.
    Labels without names keep their numbers.

    Args:
        image_set: the images.
        classes: the classes of a model.

    Raises:
        ConfigError: the data set has a class that is not among these.
        DataError: a label without a name is beyond these classes.
    """
    if image_set.classes == tuple(classes):
        return image_set
    if not image_set.classes:
        return replace(image_set, classes=tuple(classes))
    indices = [find_class(name, classes) for name in image_set.classes]
    unknown = [name for name, index in zip(image_set.classes, indices, strict=True) if index is None]
    if unknown or len(set(indices)) < len(indices):
        raise ConfigError(
            f"the model has the classes {', '.join(classes)}, but {image_set.name} has "
            f"{', '.join(image_set.classes)}; choose the data set that the model was made for"
        )
    mapping = torch.tensor([index for index in indices if index is not None])
    labels = torch.where(image_set.labels == UNLABELLED, UNLABELLED, mapping[image_set.labels])
    notes = image_set.notes
    if renamed := [name for name in image_set.classes if name not in classes]:
        notes += (f"classes are matched without regard to capitals ({', '.join(renamed)})",)
    return replace(image_set, labels=labels, classes=tuple(classes), notes=notes)


def find_class(name: str, classes: Sequence[str]) -> int | None:
    """Index of a class by its name, in any case where that leaves no doubt; None where there is no such class."""
    if name in classes:
        return classes.index(name)
    same = [index for index, known in enumerate(classes) if known.casefold() == name.casefold()]
    return same[0] if len(same) == 1 else None
