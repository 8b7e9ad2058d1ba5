"""Completing images: which classes each is completed in, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.errors import ConfigError


@dataclass(frozen=True)
class Completions:
    """Images to complete, each as often as it is wanted.

    Attributes:
        images: uint8 (N, C, H, W); `per_line` neighbours are the same image in the same class.
        labels: the class in which each is completed (N,); -1 for an unconditional model.
        names: which image each is.
        from_row: rows above it are kept.
        per_line: completions of one image in one class.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    from_row: int
    per_line: int


def plan_completions(
    given: ImageSet, config: ModelConfig, *, asked: Sequence[int] | None, per_class: int, from_row: int | None
) -> Completions:
    """`per_class` completions of every image in each of the classes asked for.

    Args:
        given: the images, of the model's size; the label of each is the class it is known to have, or -1.
        config: of the model.
        asked: the classes; None: the class an image is known to have, or else every class.
        per_class: how many of each.
        from_row: the first row that is drawn; half of the height unless given.

    Raises:
        ConfigError: no row would be drawn.
    """
    if from_row is None:
        from_row = config.image_height // 2
    if from_row >= config.image_height:
        raise ConfigError(f"--from-row {from_row} leaves nothing to draw; the images have {config.image_height} rows")
    chosen, labels = [], []
    for i, known in enumerate(given.labels.tolist()):
        if not config.conditional:
            classes: Sequence[int] = [UNLABELLED]
        elif asked is not None:
            classes = asked
        else:
            classes = [known] if known != UNLABELLED else range(config.nr_classes)
        for label in classes:
            chosen += [i] * per_class
            labels += [label] * per_class
    paths = given.paths or ()
    names = tuple(str(paths[i]) for i in chosen)
    return Completions(given.images[chosen], torch.tensor(labels), names, from_row, per_class)
