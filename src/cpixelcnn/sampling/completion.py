"""Completing images: in which classes each is completed, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.errors import ConfigError
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.plan import SamplePlan, plan_samples


def plan_completions(
    given: ImageSet,
    config: ModelConfig,
    *,
    classes: Sequence[int] | None = None,
    per_class: int = 1,
    from_row: int | None = None,
    seed: int = 0,
    options: SamplingOptions | None = None,
) -> SamplePlan:
    """Plan `per_class` completions of every image in each of the classes.

    The plan begins with one completion of every image in each of its classes, then comes the second of each, and so on:
    a plan of fewer completions is the beginning of one of more.

    Args:
        given: the images, of the model's size; the label of each is the class it is known to have, or -1.
        config: of the model.
        classes: their labels; None: the class an image is known to have, or else every class.
        per_class: how many of each.
        from_row: the first row that is drawn; half of the height unless given.
        seed: as for `sample`.
        options: as for `sample`.

    Raises:
        ConfigError: no row would be drawn.
        DataError: images of another size than the model's.
    """
    if from_row is None:
        from_row = config.image_height // 2
    if from_row >= config.image_height:
        raise ConfigError(f"`from_row` {from_row} leaves nothing to draw; the images have {config.image_height} rows")
    wanted: list[tuple[int, int]] = []  # which image, in which class
    for i, known in enumerate(given.labels.tolist()):
        if not config.conditional:
            labels: Sequence[int] = [UNLABELLED]
        elif classes is not None:
            labels = classes
        else:
            labels = [known] if known != UNLABELLED else range(config.nr_classes)
        wanted += [(i, label) for label in labels]
    wanted *= per_class
    names = [str(path) for path in given.paths] if given.paths is not None else [str(i) for i in range(len(given))]
    images = given.images[torch.tensor([i for i, _ in wanted], dtype=torch.int64)]
    return plan_samples(
        config,
        [label for _, label in wanted],
        seed=seed,
        given=images,
        given_names=[names[i] for i, _ in wanted],
        from_row=from_row,
        options=options,
    )
