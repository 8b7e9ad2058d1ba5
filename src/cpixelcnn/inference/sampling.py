"""Ancestral sampling: the inverse of the likelihood, one pixel after another in raster order.

All noise is drawn ahead, image by image from a seed of its own, so that an image can be made again from (model, class,
seed) alone and does not depend on what else is in the batch (up to the rounding of differently batched convolutions).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.model.likelihood import DiscretizedLogisticMixture, to_unit_interval
from cpixelcnn.model.network import PixelCNN, evaluation_mode
from cpixelcnn.progress import Progress, silent
from cpixelcnn.seeds import derive_seed

BATCH_SIZE = 64


@dataclass(frozen=True)
class Samples:
    """Images drawn from a model.

    Attributes:
        images: uint8 (N, C, H, W), on the CPU.
        labels: class of each image (N,); -1 where the model is unconditional.
        seeds: seed of each image's noise.
        seconds: how long drawing took.
    """

    images: Tensor
    labels: Tensor
    seeds: tuple[int, ...]
    seconds: float


def sample(
    model: PixelCNN,
    labels: Tensor | Sequence[int],
    *,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
) -> Samples:
    """Draw one image for each label, exactly from the model's distribution.

    Args:
        model: the model, in evaluation mode.
        labels: class of each image; for an unconditional model their number alone counts.
        seed: image i has the noise of seed `derive_seed(seed, "sample", i)`.
        seeds: or the seed of each image itself, to make earlier images again.
        batch_size: images drawn together.
        progress: called after every pixel with (pixels done, pixels in all), counted over all images.

    Raises:
        DataError: a label that the model does not know.
        ConfigError: not one seed for each label.
    """
    started = time.perf_counter()
    label_tensor = torch.as_tensor(labels).cpu()
    if label_tensor.is_floating_point() and len(label_tensor):
        raise DataError(f"labels must be integers, but are {label_tensor.dtype}; convert them")
    label_tensor = label_tensor.to(torch.int64)
    chosen = tuple(derive_seed(seed, "sample", i) for i in range(len(label_tensor))) if seeds is None else tuple(seeds)
    if len(chosen) != len(label_tensor):
        raise ConfigError(f"there are {len(chosen)} seeds for {len(label_tensor)} labels; give one for each image")
    config = model.config
    if config.conditional and len(label_tensor):
        low, high = int(label_tensor.min()), int(label_tensor.max())
        if low < 0 or high >= config.nr_classes:
            raise DataError(f"labels must lie in 0..{config.nr_classes - 1}, but reach from {low} to {high}")
    if not config.conditional:
        label_tensor = torch.full_like(label_tensor, -1)

    nr_pixels = config.image_height * config.image_width
    images = torch.zeros(len(chosen), config.image_channels, config.image_height, config.image_width, dtype=torch.uint8)
    for start in range(0, len(chosen), batch_size):
        batch = slice(start, min(start + batch_size, len(chosen)))
        size = batch.stop - batch.start

        def batch_progress(done: int, total: int, start: int = start, size: int = size) -> None:
            progress(start * nr_pixels + done * size, len(chosen) * nr_pixels)

        noise = torch.stack([draw_noise(config, image_seed) for image_seed in chosen[batch]])
        with evaluation_mode(model):
            images[batch] = _sample_naively(model, label_tensor[batch], noise, batch_progress)
    return Samples(images, label_tensor, chosen, time.perf_counter() - started)


def draw_noise(config: ModelConfig, seed: int) -> Tensor:
    """The uniform numbers (C + 1, H, W) in [0, 1) that one image is made of; the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(config.image_channels + 1, config.image_height, config.image_width, generator=generator)


@torch.inference_mode()
def _sample_naively(model: PixelCNN, labels: Tensor, noise: Tensor, progress: Progress) -> Tensor:
    """One forward pass for every pixel, over the rows down to its own: slow, but the definition itself."""
    config = model.config
    conditions = labels.to(model.device) if config.conditional else None
    noise = noise.to(model.device)
    size = (len(labels), config.image_channels, config.image_height, config.image_width)
    images = torch.zeros(size, dtype=torch.uint8, device=model.device)
    for row in range(config.image_height):
        for column in range(config.image_width):
            parameters = model(to_unit_interval(images[:, :, : row + 1]), conditions)
            here = (..., slice(row, row + 1), slice(column, column + 1))
            images[here] = DiscretizedLogisticMixture(parameters[here], config.image_channels).sample(noise[here])
            progress(row * config.image_width + column + 1, config.image_height * config.image_width)
    return images.cpu()
