"""Dividing images: the splits that a data set lacks, and subsets, always the same ones for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import DataConfig
from cpixelcnn.errors import ConfigError, DataError


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Divide indices into a larger and a smaller part, class by class, in a way that depends on the seed alone.

    Args:
        labels: int64 (N,); unlabelled images count as a class of their own.
        fraction: how much of each class goes to the smaller part, between 0 and 1; the number of images is rounded, but
            of a class with two or more images at least one goes.
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


@dataclass(frozen=True)
class DerivedSplit:
    """Which of the training images make up a split, and a sentence that says so.

    Attributes:
        indices: int64 (N,), ascending.
        origin: the sentence.
    """

    indices: Tensor
    origin: str


def derive_split(labels: Tensor, split: str, missing: Sequence[str], config: DataConfig, source: str) -> DerivedSplit:
    """Divide training images into "train" and the missing splits, and return one of these.

    The division depends on the labels, the fraction and the seed alone. It is made before files are read, so that a
    bad file does not move its neighbours from one split to another.

    Args:
        labels: int64 (N,) of all training images.
        split: "train" or one of `missing`.
        missing: the splits to hold out, in this order; each gets the fraction of every class.
        config: for `validation_fraction` and `split_seed`.
        source: what the images are called in the sentence of origin.

    Raises:
        ConfigError: the fraction leaves no training images, or none of some class.
        DataError: there are too few images to hold any out.
    """
    fraction = config.validation_fraction
    if fraction * len(missing) >= 1:
        raise ConfigError(
            f"`validation_fraction` must be less than {1 / len(missing):g}, but is {fraction:g}: "
            f"{' and '.join(missing)} are both held out from {source}"
        )
    parts = {"train": torch.arange(len(labels))}
    for count, name in enumerate(missing):
        rest = parts["train"]
        larger, smaller = stratified_split(labels[rest], fraction / (1 - count * fraction), config.split_seed)
        parts["train"], parts[name] = rest[larger], rest[smaller]
    if set(labels[parts["train"]].tolist()) < set(labels.tolist()):
        raise ConfigError(
            f"`validation_fraction` {fraction:g} leaves no training images of some class of {source}; lower it"
        )
    if not len(parts[split]):
        raise DataError(f"{source} has too few images to hold out {' and '.join(missing)}; add some")
    return DerivedSplit(parts[split], _origin(split, missing, config, source))


def _origin(split: str, missing: Sequence[str], config: DataConfig, source: str) -> str:
    how = f"{config.validation_fraction:.3g} of each class, seed {config.split_seed}"
    if split == "train":
        return f"{source} without {' and '.join(missing)}, held out from it ({how})" if missing else source
    return f"held out from {source} ({how})"
