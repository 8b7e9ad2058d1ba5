"""What a training will take, before it begins: parameters, memory and time, measured over three steps."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.training.loop import Call, Training
from cpixelcnn.training.plan import config_for_images
from cpixelcnn.training.threads import threads_restored

MEASURED_STEPS = 3
LONGEST = 20.0  # seconds; what takes longer is measured over fewer images


@dataclass(frozen=True)
class Estimate:
    """What a training takes.

    Attributes:
        nr_parameters: of the model.
        seconds_per_step: the fastest of the measured steps.
        seconds_per_epoch: of the steps alone; validation, samples and checkpoints come on top.
        peak_memory_bytes: of this process (CPU) or of the tensors on the GPU; None where it cannot be measured.
    """

    nr_parameters: int
    seconds_per_step: float
    seconds_per_epoch: float
    peak_memory_bytes: int | None


def estimate(config: RunConfig, train_set: ImageSet, device: torch.device) -> Estimate:
    """Take three steps of a training and throw them away."""
    config = config_for_images(config, train_set)
    with threads_restored(), tempfile.TemporaryDirectory() as scratch:
        training = Training(config, train_set, train_set, Call(Path(scratch), device))
        nr_images = min(config.train.batch_size, len(train_set))
        indices = torch.arange(nr_images, device=training.source.images.device)
        # One image first: a step of a large model on a CPU may take minutes.
        seconds = _seconds(training, indices[:1])
        affordable = int(max(1, LONGEST / MEASURED_STEPS / max(seconds, 1e-9)))
        measured = indices[:affordable]
        fastest = min(_seconds(training, measured) for _ in range(MEASURED_STEPS)) * nr_images / len(measured)
        nr_parameters = training.state.model.nr_parameters()
    steps = -(-len(train_set) // config.train.batch_size)
    return Estimate(nr_parameters, fastest, fastest * steps, _peak_memory(device))


def _seconds(training: Training, indices: torch.Tensor) -> float:
    started = time.perf_counter()
    training.take_step(indices, 0, 0, 1e-6).tolist()  # to read it is to wait for the device
    return time.perf_counter() - started


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu" or sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
