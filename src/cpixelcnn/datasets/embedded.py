"""The embedded data set as splits: how many images each has, and the form in which they are handed on."""

from __future__ import annotations

import torch

from cpixelcnn.datasets.decoding import fit_images
from cpixelcnn.datasets.drawings import CLASSES, SMALLEST_SIDE, generate
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.listing import SplitRequest
from cpixelcnn.errors import ConfigError

VALIDATION_SIZE = 500
TEST_SIZE = 1000


def load_embedded(request: SplitRequest) -> ImageSet:
    """Draw one split of the embedded data set; its family of images follows from `split_seed`.

    Raises:
        ConfigError: the images wanted are too small to show anything, or the seed is negative.
    """
    seed, size = request.config.split_seed, request.size
    if size < SMALLEST_SIDE:
        raise ConfigError(f"`image_size` must be {SMALLEST_SIDE} or more for the embedded data set, but is {size}")
    if seed < 0:
        raise ConfigError(f"`split_seed` must be 0 or more for the embedded data set, but is {seed}")
    count = {"train": request.config.train_size, "validation": VALIDATION_SIZE, "test": TEST_SIZE}[request.split]
    images, labels = generate(request.split, count, seed=seed, height=size, width=size)
    request.progress(count, count)
    return ImageSet(
        images=fit_images(torch.from_numpy(images), height=size, width=size, channels=request.channels),
        labels=torch.from_numpy(labels),
        classes=CLASSES,
        name=request.config.dataset,
        split=request.split,
        origin=f"{count} images drawn by the toolkit itself (seed {seed})",
    )
