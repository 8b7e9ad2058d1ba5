"""Sampling: the inverse of the likelihood, one pixel after another in raster order.

All noise is drawn ahead, image by image from a seed of its own, so that an image can be made again from (model, class,
seed) alone and does not depend on what else is in the batch: up to the rounding of differently shaped matrix products,
which now and then moves a value to its neighbour, and with it what follows in that image.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.device import exact_float32
from cpixelcnn.errors import ConfigError, NonFiniteError
from cpixelcnn.model.network import PixelCNN, evaluation_mode
from cpixelcnn.progress import Progress, silent
from cpixelcnn.sampling.ancestral import AncestralSampler, Predictor
from cpixelcnn.sampling.incremental.predictor import IncrementalPredictor
from cpixelcnn.sampling.naive import NaivePredictor
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.pixel_rules import GuidedSampler, MixtureSampler, PixelSampler, Temperature
from cpixelcnn.sampling.plan import Labels, SamplePlan, plan_samples

BATCH_SIZE = 64


@dataclass(frozen=True)
class Samples:
    """Images drawn from a model.

    Attributes:
        images: uint8 (N, C, H, W), on the CPU.
        labels: class of each image, int64 (N,); -1 where the model is unconditional.
        seeds: seed of each image's noise.
        seconds: how long drawing took.
    """

    images: Tensor
    labels: Tensor
    seeds: tuple[int, ...]
    seconds: float


def sample(
    model: PixelCNN,
    labels: Labels,
    *,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    given: Tensor | None = None,
    from_row: int = 0,
    options: SamplingOptions | None = None,
    unconditional: PixelCNN | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
) -> Samples:
    """Draw one image for each label, exactly from the model's distribution unless the options say otherwise.

    Args:
        model: the model.
        labels: class of each image, by its index or by its name; for an unconditional model their number alone counts.
        seed: image i has the noise of seed `derive_seed(seed, "sample", i)`.
        seeds: or the seed of each image itself, to make earlier images again.
        given: images uint8 (N, C, H, W) to complete: their rows above `from_row` are kept, and the others drawn from
            p(rows below | rows above, c), which is exact since the order is raster.
        from_row: the first row that is drawn.
        options: sampler, precision, temperatures, guidance.
        unconditional: an unconditional model that gives p(x) for guidance; the mixture over the classes without it.
        batch_size: the largest number of images drawn together.
        progress: called after every row with (rows done, rows in all), counted over all images.

    Returns:
        The images, with the label and the seed of each.

    Raises:
        DataError: a label that the model does not know, or given images of another type or size than the model's.
        ConfigError: an unknown class name, not one seed for each label, a row that the images do not have, or options
            that do not go together with the models.
        NonFiniteError: weights that are not finite.
    """
    started = time.perf_counter()
    config = model.config
    plan = plan_samples(
        config, labels, seed=seed, seeds=seeds, given=given, from_row=from_row, options=options or SamplingOptions()
    )
    batches = draw(model, plan, unconditional=unconditional, batch_size=batch_size, progress=progress)
    images = torch.cat([torch.zeros(0, *plan.image_shape, dtype=torch.uint8), *batches])
    return Samples(images, torch.tensor(plan.labels, dtype=torch.int64), plan.seeds, time.perf_counter() - started)


def draw(
    model: PixelCNN,
    plan: SamplePlan,
    *,
    unconditional: PixelCNN | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
) -> Iterator[Tensor]:
    """Draw the images of a plan batch by batch, uint8 (n, C, H, W) on the CPU; the arguments are those of `sample`.

    All batches have the same size, or nearly, so that the buffers of the sampler are allocated once.

    Raises:
        ConfigError: a plan for another model, or options that do not go together with the models.
        NonFiniteError: weights that are not finite.
    """
    _check_models(model, unconditional, plan)
    if batch_size < 1:
        raise ConfigError(f"`batch_size` must be 1 or more, but is {batch_size}")
    if not len(plan):
        return
    height = model.config.image_height
    nr_batches = -(-len(plan) // batch_size)
    n = -(-len(plan) // nr_batches)
    sampler = make_sampler(model, unconditional, plan.options, n)
    for start in range(0, len(plan), n):
        size = min(n, len(plan) - start)

        def row_done(row: int, start: int = start, size: int = size) -> None:
            progress(start * height + (row + 1) * size, len(plan) * height)

        # A smaller last batch is filled up with its last image.
        batch = plan.select([min(i, len(plan) - 1) for i in range(start, start + n)])
        labels = torch.tensor(batch.labels, device=model.device) if model.config.conditional else None
        noise = torch.stack([draw_noise(model.config, image_seed) for image_seed in batch.seeds])
        with ExitStack() as stack:
            for each in _models(model, unconditional):
                stack.enter_context(evaluation_mode(each))
            stack.enter_context(exact_float32())
            images = sampler.draw(labels, noise, batch.given, batch.from_row, row_done)
        yield images[:size]


def draw_noise(config: ModelConfig, seed: int) -> Tensor:
    """The uniform numbers (C + 1, H, W) in [0, 1) that one image is made of; the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(config.image_channels + 1, config.image_height, config.image_width, generator=generator)


@torch.inference_mode()
def make_sampler(model: PixelCNN, unconditional: PixelCNN | None, options: SamplingOptions, n: int) -> AncestralSampler:
    """What draws batches of n images from these models with these options."""
    config = model.config

    def predictor(model: PixelCNN, n: int) -> Predictor:
        if options.sampler == "naive":
            return NaivePredictor(model, n)
        return IncrementalPredictor(model, n, getattr(torch, options.precision))

    temperature = Temperature(options.mixture_temperature, options.scale_temperature)
    predictors = [predictor(model, n)]
    pixel_sampler: PixelSampler = MixtureSampler(config.image_channels, temperature)
    if options.guidance:
        nr_classes = 0 if unconditional is not None else config.nr_classes
        pixel_sampler = GuidedSampler(config.image_channels, temperature, options.guidance, n, nr_classes, model.device)
        if unconditional is not None:
            predictors.append(predictor(unconditional, n))
        else:
            predictors = [predictor(model, n * nr_classes)]
    return AncestralSampler(predictors, pixel_sampler, config, n, model.device)


def _models(model: PixelCNN, unconditional: PixelCNN | None) -> list[PixelCNN]:
    return [model] if unconditional is None else [model, unconditional]


def _check_models(model: PixelCNN, unconditional: PixelCNN | None, plan: SamplePlan) -> None:
    if plan.config != model.config:
        raise ConfigError("the plan of the samples was made for a model of another configuration; plan them anew")
    for each in _models(model, unconditional):
        if plan.options.sampler == "incremental" and each.overrides_forward:
            raise ConfigError(
                f"{type(each).__name__} overrides the forward pass of PixelCNN, which the incremental sampler does not "
                'call; sample it with SamplingOptions(sampler="naive")'
            )
        if not bool(torch.cat([parameter.detach().flatten() for parameter in each.parameters()]).isfinite().all()):
            raise NonFiniteError("the weights of the model are not finite; choose an earlier checkpoint")
    if plan.options.guidance and not model.config.conditional:
        raise ConfigError("this model is unconditional, and `guidance` needs a class-conditional one; leave it at 0")
    if unconditional is None:
        return
    if unconditional.config.conditional:
        raise ConfigError(
            "the second model of guidance must be unconditional, but has classes; "
            "train one with `early_fusion` none and `film` none"
        )
    ours, theirs = (
        (config.image_channels, config.image_height, config.image_width)
        for config in (model.config, unconditional.config)
    )
    if ours != theirs:
        raise ConfigError(f"the unconditional model makes images of {theirs}, and the model of {ours} (C, H, W)")
