"""The one form in which images live in memory: 8-bit tensors with labels, class names and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.errors import DataError

UNLABELLED = -1


@dataclass(frozen=True)
class ImageSet:
    """Images of one split of a data set.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,), indices into `classes`; -1 is an image whose class is not known.
        classes: names of the classes.
        name: the data set, such as "cpen455".
        split: "train", "validation" or "test".
        paths: the file of each image, or None where images have no files.
        origin: one sentence on how the split came about, for people.
        nr_skipped: bad files that were left out on request.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    split: str
    paths: tuple[Path, ...] | None = None
    origin: str = ""
    nr_skipped: int = 0

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8, "images must be uint8"
        assert self.images.ndim == 4, "images must be (N, C, H, W)"
        assert self.labels.dtype == torch.int64, "labels must be int64"
        assert self.labels.shape == self.images.shape[:1], "one label an image"
        assert self.paths is None or len(self.paths) == len(self.images), "one path an image"

    def __len__(self) -> int:
        return len(self.images)

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
        return replace(self, images=self.images[indices], labels=self.labels[indices], paths=paths)

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


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Divide indices into a larger and a smaller part, class by class, in a way that depends on the seed alone.

    Args:
        labels: int64 (N,); unlabelled images count as a class of their own.
        fraction: share of each class that goes to the smaller part, rounded, at least one of each class with two or
            more.
        seed: of the permutation within the classes.

    Returns:
        Indices of the larger and of the smaller part, each in ascending order.
    """
    generator = torch.Generator().manual_seed(seed)
    smaller = []
    for label in sorted(set(labels.tolist())):
        members = torch.nonzero(labels == label)[:, 0]
        count = max(round(fraction * len(members)), 1) if len(members) > 1 else 0
        smaller.append(members[torch.randperm(len(members), generator=generator)[:count]])
    held_out = torch.cat(smaller).sort().values if smaller else torch.empty(0, dtype=torch.int64)
    mask = torch.ones(len(labels), dtype=torch.bool)
    mask[held_out] = False
    return torch.nonzero(mask)[:, 0], held_out


def balanced_subset(labels: Tensor, count: int) -> Tensor:
    """Indices of the first `count` images such that the classes are as even as can be, in ascending order."""
    rank = torch.empty_like(labels)
    for label in sorted(set(labels.tolist())):
        members = torch.nonzero(labels == label)[:, 0]
        rank[members] = torch.arange(len(members))
    return torch.argsort(rank, stable=True)[:count].sort().values
