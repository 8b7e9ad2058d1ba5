"""Splits that a data set lacks, drawn from its training images: always the same ones for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import stratified_split
from cpixelcnn.errors import ConfigError, DataError


@dataclass(frozen=True)
class DrawnSplit:
    """Which of the training images make up a split, and a sentence that says so.

    Attributes:
        indices: int64 (N,), ascending.
        origin: the sentence.
    """

    indices: Tensor
    origin: str


def draw_split(labels: Tensor, split: str, missing: Sequence[str], config: DataConfig, source: str) -> DrawnSplit:
    """Divide training images into "train" and the missing splits, and return one of these.

    The division depends on the labels, the fraction and the seed alone. It is made before files are read, so that a
    bad file does not move its neighbours from one split to another.

    Args:
        labels: int64 (N,) of all training images.
        split: "train" or one of `missing`.
        missing: the splits to draw, in this order; each gets the fraction of every class.
        config: for `validation_fraction` and `split_seed`.
        source: what the images are called in the sentence of origin.

    Raises:
        ConfigError: the fraction leaves no training images, or none of some class.
        DataError: there are too few images to draw the split.
    """
    fraction = config.validation_fraction
    if fraction * len(missing) >= 1:
        raise ConfigError(
            f"--validation-fraction must be less than {1 / len(missing):g}, but is {fraction:g}: "
            f"{' and '.join(missing)} are both drawn from {source}"
        )
    parts = {"train": torch.arange(len(labels))}
    for count, name in enumerate(missing):
        rest = parts["train"]
        larger, smaller = stratified_split(labels[rest], fraction / (1 - count * fraction), config.split_seed)
        parts["train"], parts[name] = rest[larger], rest[smaller]
    if set(labels[parts["train"]].tolist()) < set(labels.tolist()):
        raise ConfigError(
            f"--validation-fraction {fraction:g} leaves no training images of some class of {source}; lower it"
        )
    if not len(parts[split]):
        raise DataError(f"{source} has too few images to draw {' and '.join(missing)} from; add some")
    return DrawnSplit(parts[split], _origin(split, missing, config, source))


def _origin(split: str, missing: Sequence[str], config: DataConfig, source: str) -> str:
    how = f"{config.validation_fraction:.3g} of each class, seed {config.split_seed}"
    if split == "train":
        return f"{source} without {' and '.join(missing)}, drawn from it ({how})" if missing else source
    return f"drawn from {source} ({how})"
