"""Whether this machine and device compute what they should, and how fast.

Each way of computing something is compared with a plainer one: the device with float64 on the CPU, the sampler with the
whole network, recorded rows with unrecorded ones, the compiled network with the eager one, bfloat16 with float32.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from cpixelcnn.checks.outcome import FAILED, OK, SKIPPED, Check, attempt, compared
from cpixelcnn.config import DataConfig, RunConfig, TrainConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.device import exact_float32
from cpixelcnn.evaluation.class_log_probs import class_log_probs
from cpixelcnn.model.mixture import scale_pixels
from cpixelcnn.model.network import PixelCNN, evaluation_mode, pixel_log_probs, sum_over_pixels
from cpixelcnn.sampling.ancestral import AncestralSampler
from cpixelcnn.sampling.incremental.predictor import IncrementalPredictor
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.sample import draw_noise, make_sampler
from cpixelcnn.training.estimate import estimate

NR_IMAGES = 4
NATS = 0.5  # of an image; TF32 in the place of float32 moves log-likelihoods by tens
RELATIVE = 1e-3  # of the largest parameter of a pixel
BITS_PER_DIM = 0.05  # between bfloat16 and float32


def check_computing(model: PixelCNN, images: ImageSet, *, compile: bool | None = None) -> Iterator[Check]:
    """The checks of a model on its device, one after the other.

    Args:
        model: class-conditional, in evaluation mode, on the device to check.
        images: of the model's size and classes, at least four.
        compile: whether torch.compile is checked, which takes a minute or more; by default on CUDA alone.
    """
    some, labels = images.images[:NR_IMAGES], images.labels[:NR_IMAGES]
    cuda = model.device.type == "cuda"
    checks: dict[str, Callable[[], Check]] = {
        "log-likelihoods against float64": lambda: likelihoods_check(model, some, labels),
        "bfloat16 against float32": lambda: bfloat16_check(model, some, labels),
        "sampler against the network": lambda: sampler_check(model, some, labels),
        "recorded rows against unrecorded": lambda: recording_check(model, labels),
        "compiled against eager": lambda: compilation_check(
            model, some, labels, wanted=cuda if compile is None else compile
        ),
        "speed of classification": lambda: classification_speed(model, images),
        "speed of sampling": lambda: sampling_speed(model, labels),
        "speed of training, float32": lambda: training_speed(model, images, "float32"),
        "speed of training, bfloat16": lambda: training_speed(model, images, "bfloat16"),
    }
    for name, check in checks.items():
        yield attempt(name, check)


def likelihoods_check(model: PixelCNN, images: Tensor, labels: Tensor) -> Check:
    """log p(x | c) on the device and in float64 on the CPU."""
    reference = copy.deepcopy(model).cpu().double()
    with torch.inference_mode(), evaluation_mode(model), evaluation_mode(reference):
        found = model.log_prob(images.to(model.device), labels.to(model.device)).cpu()
        expected = reference.log_prob(images, labels)
    difference = float((found - expected).abs().max())
    return compared("log-likelihoods against float64", difference, NATS, "nats an image")


def bfloat16_check(model: PixelCNN, images: Tensor, labels: Tensor) -> Check:
    """Bits/dim with the network's convolutions in bfloat16, as a training may have them, and in float32."""
    images, labels = images.to(model.device), labels.to(model.device)
    with torch.inference_mode(), evaluation_mode(model), exact_float32():
        exact, rounded = (
            sum_over_pixels(pixel_log_probs(model, images, labels, precision=precision))
            for precision in ("float32", "bfloat16")
        )
    nats_per_bit = float(torch.log(torch.tensor(2.0)))
    difference = float((exact - rounded).mean().abs()) / nats_per_bit / model.config.nr_dimensions
    return compared("bfloat16 against float32", difference, BITS_PER_DIM, "bits/dim")


@torch.inference_mode()
def sampler_check(model: PixelCNN, images: Tensor, labels: Tensor) -> Check:
    """The parameters of every pixel by the incremental sampler and by the whole network, on real images."""
    x, labels = scale_pixels(images.to(model.device)), labels.to(model.device)
    largest = 0.0
    with evaluation_mode(model), exact_float32():
        expected = model(x, labels)
        scale = expected.abs().amax(dim=1)
        predictor = IncrementalPredictor(model, len(images))
        predictor.begin(labels)
        for row in range(x.shape[2]):
            predictor.load_row(row)
            predictor.begin_row()
            errors = []
            for column in range(x.shape[3]):
                error = (predictor.parameters(column) - expected[:, :, row, column]).abs().amax(dim=1)
                errors.append((error / scale[:, row, column]).max())
                predictor.place(column, x[:, :, row, column])
            row_error = float(torch.stack(errors).max())
            largest = max(largest, row_error) if row_error == row_error else row_error  # NaN stays
            if largest != largest:
                break
    return compared("sampler against the network", largest, RELATIVE, "of the largest parameter")


def recording_check(model: PixelCNN, labels: Tensor) -> Check:
    """Images from rows that are recorded as CUDA graphs and from the same rows unrecorded."""
    name = "recorded rows against unrecorded"
    if model.device.type != "cuda":
        return Check(name, SKIPPED, f"rows are recorded on CUDA devices, not on {model.device.type}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recorded, sampler = _drawn(model, labels, recorded=True)
    if sampler.graphs is None:
        reason = str(caught[0].message) if caught else "nothing was recorded"
        return Check(name, FAILED, reason)
    plain, _ = _drawn(model, labels, recorded=False)
    different = int((recorded != plain).flatten(1).any(dim=1).sum())
    return compared(name, different, 0, f"of {len(labels)} images")


def compilation_check(model: PixelCNN, images: Tensor, labels: Tensor, *, wanted: bool) -> Check:
    """Log-likelihoods through torch.compile and without it."""
    name = "compiled against eager"
    if not wanted:
        return Check(name, SKIPPED, "it takes a minute or more on a CPU; pass `compile` for it")
    if model.device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return Check(name, SKIPPED, "Triton is not installed, which torch.compile needs on a GPU")
    images, labels = images.to(model.device), labels.to(model.device)
    compiled: Any = torch.compile(model, dynamic=False)
    with torch.no_grad(), evaluation_mode(model), exact_float32():
        expected, found = (sum_over_pixels(pixel_log_probs(each, images, labels)) for each in (model, compiled))
    return compared(name, float((found - expected).abs().max()), NATS, "nats an image")


def classification_speed(model: PixelCNN, images: ImageSet) -> Check:
    """Images classified in a second: log p(x | c) under every class."""
    few = images.images[: 64 if model.device.type == "cuda" else 8]
    class_log_probs(model, few)
    seconds = _seconds(lambda: class_log_probs(model, few))
    return _speed("speed of classification", len(few) / seconds, f"images/s, {model.config.nr_classes} classes")


def sampling_speed(model: PixelCNN, labels: Tensor) -> Check:
    """Images drawn in a second, after rows have been recorded where they are."""
    many = labels.repeat(16 if model.device.type == "cuda" else 2)
    sampler = _sampler(model, len(many))
    seconds = 0.0
    for _ in range(2 if sampler.graphs is not None else 1):
        seconds = _seconds(lambda: _draw(sampler, model, many))
    return _speed("speed of sampling", len(many) / seconds, f"images/s in batches of {len(many)}")


def training_speed(model: PixelCNN, images: ImageSet, precision: str) -> Check:
    """Images trained on in a second, by the fastest of three steps."""
    batch = 64 if model.device.type == "cuda" else 8
    train = TrainConfig(batch_size=batch, precision=precision)
    config = RunConfig(dataclasses.replace(model.config), DataConfig(), train)
    measured = estimate(config, images, model.device)
    found = min(batch, len(images)) / measured.seconds_per_step
    memory = measured.peak_memory_bytes
    peak = "" if memory is None else f", {memory / 2**20:,.0f} MiB at most"
    return _speed(f"speed of training, {precision}", found, f"images/s in batches of {batch}{peak}")


def _speed(name: str, value: float, unit: str) -> Check:
    return Check(name, OK, f"{value:.3g} {unit}", value)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _sampler(model: PixelCNN, n: int) -> AncestralSampler:
    return make_sampler(model, None, SamplingOptions(), n)


def _draw(sampler: AncestralSampler, model: PixelCNN, labels: Tensor) -> Tensor:
    noise = torch.stack([draw_noise(model.config, seed) for seed in range(len(labels))])
    with evaluation_mode(model), exact_float32():
        return sampler.draw(labels.to(model.device), noise)


def _drawn(model: PixelCNN, labels: Tensor, *, recorded: bool) -> tuple[Tensor, AncestralSampler]:
    sampler = _sampler(model, len(labels))
    if not recorded:
        sampler.graphs = None
    return _draw(sampler, model, labels), sampler
