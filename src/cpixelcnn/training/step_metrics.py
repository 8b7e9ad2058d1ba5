"""The metrics of the steps: read from the device when they are there, added up, and reported.

A GPU works through what it was given while the next step is prepared. Reading a metric of the step just given would
wait for its end and leave the GPU without work meanwhile, so it is read one step later. A CPU's are read at once.
"""

from __future__ import annotations

import math
import time
from collections import deque
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from cpixelcnn.distributed import Processes
from cpixelcnn.errors import NonFiniteError
from cpixelcnn.training.callbacks import Callback, StepPosition, StepRecord
from cpixelcnn.training.parallel import Agreement
from cpixelcnn.training.state import TrainProgress

T = TypeVar("T")


class DeferredMetrics(Generic[T]):
    """A queue of metrics on their way from the device: none waits on a CPU, one step's on a GPU.

    Args:
        device: where the metrics are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.delay = 1 if device.type == "cuda" else 0
        self.pending: deque[tuple[T, _Copy]] = deque()

    def push(self, item: T, metrics: Tensor) -> list[tuple[T, list[float]]]:
        """Begin to read metrics (1-dimensional, on the device); returns those that are due, each with its item."""
        self.pending.append((item, _Copy(metrics)))
        return self._due(self.delay)

    def flush(self) -> list[tuple[T, list[float]]]:
        """All that are left."""
        return self._due(0)

    def _due(self, left: int) -> list[tuple[T, list[float]]]:
        due = [self.pending.popleft() for _ in range(len(self.pending) - left)]
        return [(item, copy.read()) for item, copy in due]


class _Copy:
    """A tensor that is being copied to the host."""

    def __init__(self, tensor: Tensor) -> None:
        self.host, self.event = tensor, None
        if tensor.device.type == "cuda":
            self.host = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self.host.copy_(tensor, non_blocking=True)
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record(torch.cuda.current_stream(tensor.device))

    def read(self) -> list[float]:
        if self.event is not None:
            self.event.synchronize()
        numbers: list[float] = self.host.tolist()
        return numbers


class StepMetrics:
    """Adds the metrics and the time of the steps to the progress of the training, and reports each step.

    Args:
        run: the run directory, for error messages.
        clip_grad_norm: the norm to which longer gradients are scaled; 0 scales none.
        max_bad_steps: how many bad steps in a row end the training.
        progress: of the training.
        device: where the metrics are computed.
        agreement: receives what the processes tell each other beside the metrics.
        processes: those that train together.
        callback: is called after each step.
    """

    def __init__(
        self,
        run: Path,
        clip_grad_norm: float,
        max_bad_steps: int,
        progress: TrainProgress,
        device: torch.device,
        agreement: Agreement,
        processes: Processes,
        callback: Callback,
    ) -> None:
        self.run, self.max_bad_steps, self.progress = run, max_bad_steps, progress
        self.longest = clip_grad_norm or math.inf
        self.agreement, self.processes, self.callback = agreement, processes, callback
        self.deferred = DeferredMetrics[StepPosition](device)
        self.bad_in_a_row = 0

    def add(self, position: StepPosition, metrics: Tensor, started: float) -> None:
        """Take the metrics of a step that began at `started` (`time.perf_counter`).

        Raises:
            NonFiniteError: too many bad steps in a row.
        """
        self._take(self.deferred.push(position, metrics), started)

    def flush(self) -> None:
        """Take the metrics that have not been read yet; raises as `add`."""
        started = time.perf_counter()
        self._take(self.deferred.flush(), started)

    def _take(self, due: list[tuple[StepPosition, list[float]]], started: float) -> None:
        elapsed = time.perf_counter() - started  # reading waits for the device, so this includes its work
        progress = self.progress
        progress.seconds += elapsed
        progress.epoch_seconds += elapsed
        for position, (bits, norm, *flags) in due:
            self.agreement.receive(flags)
            if math.isfinite(bits) and math.isfinite(norm):
                progress.epoch_bits += bits * position.images
                progress.epoch_norm += norm * position.images
                progress.epoch_images += position.images
                progress.epoch_clipped += position.images if norm > self.longest else 0
                self.bad_in_a_row = 0
            else:
                with self.processes.together():
                    self._count_bad_step(position.step)
            self.callback.on_step(StepRecord(**vars(position), bits_per_dim=bits, grad_norm=norm))

    def _count_bad_step(self, step: int) -> None:
        self.progress.bad_steps += 1
        self.bad_in_a_row += 1
        self.callback.on_warning(f"step {step}: loss or gradient is not finite; the step was skipped")
        if self.bad_in_a_row >= self.max_bad_steps:
            raise NonFiniteError(
                f"loss or gradient were not finite for {self.bad_in_a_row} steps in a row; the last checkpoint in "
                f"{self.run} is good: resume from it with a smaller `lr`"
            )
