"""Sampling: the inverse of the likelihood, one pixel after another in raster order.

All noise is drawn ahead, image by image from a seed of its own, so that an image can be made again from (model, class,
seed) alone and does not depend on what else is in the batch: up to the rounding of differently shaped matrix products,
which now and then moves a value to its neighbour, and with it what follows in that image.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.device import exact_float32
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.model.network import PixelCNN, evaluation_mode
from cpixelcnn.progress import Progress, silent
from cpixelcnn.randomness import derive_seed
from cpixelcnn.sampling.ancestral import AncestralSampler, Predictor
from cpixelcnn.sampling.incremental.predictor import IncrementalPredictor
from cpixelcnn.sampling.naive import NaivePredictor
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.pixel_rules import GuidedSampler, MixtureSampler, PixelSampler, Temperature

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


@dataclass(frozen=True)
class SamplePlan:
    """Which images to draw: made and checked by `order`.

    Attributes:
        labels: class of each image (N,) int64; -1 where the model is unconditional.
        seeds: seed of each image's noise.
        given: images uint8 (N, C, H, W) to complete, or None.
        from_row: rows above it are kept as they are given.
    """

    labels: Tensor
    seeds: tuple[int, ...]
    given: Tensor | None = None
    from_row: int = 0

    def __len__(self) -> int:
        return len(self.seeds)

    def select(self, indices: Sequence[int]) -> SamplePlan:
        """The order of some of its images."""
        given = None if self.given is None else self.given[list(indices)]
        return replace(
            self, labels=self.labels[list(indices)], seeds=tuple(self.seeds[i] for i in indices), given=given
        )


def order(
    config: ModelConfig,
    labels: Tensor | Sequence[int],
    *,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    given: Tensor | None = None,
    from_row: int = 0,
) -> SamplePlan:
    """One image for each label; the arguments are those of `sample`.

    Raises:
        DataError: a label that the model does not know, or given images of another kind or size than the model's.
        ConfigError: not one seed for each label, or a row that the images do not have.
    """
    label_tensor = torch.as_tensor(labels).cpu()
    if label_tensor.is_floating_point() and len(label_tensor):
        raise DataError(f"labels must be integers, but are {label_tensor.dtype}; convert them")
    label_tensor = label_tensor.to(torch.int64)
    chosen = tuple(derive_seed(seed, "sample", i) for i in range(len(label_tensor))) if seeds is None else tuple(seeds)
    if len(chosen) != len(label_tensor):
        raise ConfigError(f"there are {len(chosen)} seeds for {len(label_tensor)} labels; give one for each image")
    if config.conditional and len(label_tensor):
        low, high = int(label_tensor.min()), int(label_tensor.max())
        if low < 0 or high >= config.nr_classes:
            raise DataError(f"labels must lie in 0..{config.nr_classes - 1}, but reach from {low} to {high}")
    if not config.conditional:
        label_tensor = torch.full_like(label_tensor, -1)
    if given is not None:
        expected = (len(chosen), config.image_channels, config.image_height, config.image_width)
        if given.dtype != torch.uint8 or tuple(given.shape) != expected:
            raise DataError(
                f"images to complete must be uint8 {expected}, one for each label, but are {given.dtype} "
                f"{tuple(given.shape)}; resize or repeat them first"
            )
    if not 0 <= from_row <= config.image_height or (from_row and given is None):
        raise ConfigError(f"from_row must lie in 0..{config.image_height} and needs images, but is {from_row}")
    return SamplePlan(label_tensor, chosen, given, from_row)


def sample(
    model: PixelCNN,
    labels: Tensor | Sequence[int],
    *,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    given: Tensor | None = None,
    from_row: int = 0,
    options: SamplingOptions | None = None,
    marginal: PixelCNN | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
) -> Samples:
    """Draw one image for each label, exactly from the model's distribution unless the options say otherwise.

    Args:
        model: the model.
        labels: class of each image; for an unconditional model their number alone counts.
        seed: image i has the noise of seed `derive_seed(seed, "sample", i)`.
        seeds: or the seed of each image itself, to make earlier images again.
        given: images uint8 (N, C, H, W) to complete: their rows above `from_row` are kept, and the others drawn from
            p(rows below | rows above, c), which is exact since the order is raster.
        from_row: the first row that is drawn.
        options: sampler, precision, temperatures, guidance.
        marginal: an unconditional model for guidance; the mixture over the classes unless given.
        batch_size: most images drawn together.
        progress: called after every row with (rows done, rows in all), counted over all images.

    Raises:
        DataError: a label that the model does not know, or given images of another kind or size than the model's.
        ConfigError: not one seed for each label, a row that the images do not have, or options that do not go together.
    """
    started = time.perf_counter()
    wanted = order(model.config, labels, seed=seed, seeds=seeds, given=given, from_row=from_row)
    options = options or SamplingOptions()
    batches = draw(model, wanted, options=options, marginal=marginal, batch_size=batch_size, progress=progress)
    config = model.config
    nothing = torch.zeros(0, config.image_channels, config.image_height, config.image_width, dtype=torch.uint8)
    images = torch.cat([nothing, *batches])
    return Samples(images, wanted.labels, wanted.seeds, time.perf_counter() - started)


def draw(
    model: PixelCNN,
    wanted: SamplePlan,
    *,
    options: SamplingOptions,
    marginal: PixelCNN | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
) -> Iterator[Tensor]:
    """The images of an order, batch by batch, each uint8 (n, C, H, W) on the CPU; the arguments are those of `sample`.

    All batches have the same size, or nearly, so that the memory of the sampler is allocated once.

    Raises:
        ConfigError: options that do not go together with the models.
    """
    _check_guidance(model, marginal, options)
    if batch_size < 1:
        raise ConfigError(f"batch_size must be 1 or more, but is {batch_size}")
    if not len(wanted):
        return
    height = model.config.image_height
    nr_batches = -(-len(wanted) // batch_size)
    n = -(-len(wanted) // nr_batches)
    raster = _make_raster(model, marginal, options, n)
    for start in range(0, len(wanted), n):
        size = min(n, len(wanted) - start)

        def row_done(row: int, start: int = start, size: int = size) -> None:
            progress(start * height + (row + 1) * size, len(wanted) * height)

        # A smaller last batch is filled up with its last image.
        batch = wanted.select([min(i, len(wanted) - 1) for i in range(start, start + n)])
        labels = batch.labels.to(model.device) if model.config.conditional else None
        noise = torch.stack([draw_noise(model.config, image_seed) for image_seed in batch.seeds])
        with evaluation_mode(model), evaluation_mode(marginal or model), exact_float32():
            images = raster.draw(labels, noise, batch.given, batch.from_row, row_done)
        yield images[:size]


def draw_noise(config: ModelConfig, seed: int) -> Tensor:
    """The uniform numbers (C + 1, H, W) in [0, 1) that one image is made of; the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(config.image_channels + 1, config.image_height, config.image_width, generator=generator)


@torch.inference_mode()
def _make_raster(model: PixelCNN, marginal: PixelCNN | None, options: SamplingOptions, n: int) -> AncestralSampler:
    config = model.config

    def predictor(model: PixelCNN, n: int) -> Predictor:
        if options.sampler == "naive":
            return NaivePredictor(model, n)
        return IncrementalPredictor(model, n, getattr(torch, options.precision))

    temperature = Temperature(options.mixture_temperature, options.scale_temperature)
    predictors = [predictor(model, n)]
    rule: PixelSampler = MixtureSampler(config.image_channels, temperature)
    if options.guidance:
        nr_classes = 0 if marginal is not None else config.nr_classes
        rule = GuidedSampler(config.image_channels, temperature, options.guidance, n, nr_classes, model.device)
        if marginal is not None:
            predictors.append(predictor(marginal, n))
        else:
            predictors = [predictor(model, n * nr_classes)]
    return AncestralSampler(predictors, rule, config, n, model.device)


def _check_guidance(model: PixelCNN, marginal: PixelCNN | None, options: SamplingOptions) -> None:
    if options.guidance and not model.config.conditional:
        raise ConfigError("guidance needs a class-conditional model, and this one is unconditional; leave it at 0")
    if marginal is None:
        return
    if marginal.config.conditional:
        raise ConfigError(
            "the marginal model of guidance must be unconditional, but has classes; "
            "train one with --early-fusion none --film none"
        )
    ours, theirs = (
        (config.image_channels, config.image_height, config.image_width) for config in (model.config, marginal.config)
    )
    if ours != theirs:
        raise ConfigError(f"the marginal model of guidance makes images of {theirs}, and the model of {ours} (C, H, W)")
