"""The metrics of steps: read late from the device, added up, and reported.

The figures of steps, on their way from the device.

A GPU works through what it was given while the next step is prepared. To read a number of the step just given would
wait for the end of it, and leave the device without work meanwhile; so it is read one step later.

What came of the steps: their figures as they arrive, the time that they took, and those that were bad.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from cpixelcnn.distributed import Processes
from cpixelcnn.errors import NonFiniteError
from cpixelcnn.training.callbacks import StepRecord, TrainingListener
from cpixelcnn.training.checkpoint import TrainProgress
from cpixelcnn.training.parallel import Agreement

T = TypeVar("T")


class DeferredMetrics(Generic[T]):
    """Gives figures back in their order, when they have arrived: at once from a CPU, one step later from a GPU.

    Args:
        device: where the figures come from.
    """

    def __init__(self, device: torch.device) -> None:
        self.longest = 1 if device.type == "cuda" else 0
        self.flights: deque[tuple[T, _Copy]] = deque()

    def send(self, what: T, figures: Tensor) -> list[tuple[T, list[float]]]:
        """Send figures (1-dimensional, on the device) off; returns those that are due, each with what went with it."""
        self.flights.append((what, _Copy(figures)))
        return self._arrived(self.longest)

    def land(self) -> list[tuple[T, list[float]]]:
        """All that is still on its way."""
        return self._arrived(0)

    def _arrived(self, left: int) -> list[tuple[T, list[float]]]:
        due = [self.flights.popleft() for _ in range(len(self.flights) - left)]
        return [(what, copy.read()) for what, copy in due]


class _Copy:
    """A tensor that is being copied to the host."""

    def __init__(self, figures: Tensor) -> None:
        self.host, self.event = figures, None
        if figures.device.type == "cuda":
            self.host = torch.empty_like(figures, device="cpu", pin_memory=True)
            self.host.copy_(figures, non_blocking=True)
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record(torch.cuda.current_stream(figures.device))

    def read(self) -> list[float]:
        if self.event is not None:
            self.event.synchronize()
        numbers: list[float] = self.host.tolist()
        return numbers


Unfinished = Callable[..., StepRecord]  # makes the record of a step when `bits_per_dim` and `grad_norm` are known


class StepMetrics:
    """Adds steps up in the progression, and tells the listener of each.

    Args:
        run: the run directory, for what is said of it.
        max_bad_steps: how many in a row end the training.
        progression: of the training.
        device: where the figures come from.
        agreement: is told what comes behind them.
        processes: those that train together.
        listener: hears of the steps.
    """

    def __init__(
        self,
        run: Path,
        max_bad_steps: int,
        progression: TrainProgress,
        device: torch.device,
        agreement: Agreement,
        processes: Processes,
        listener: TrainingListener,
    ) -> None:
        self.run, self.max_bad_steps, self.progression = run, max_bad_steps, progression
        self.agreement, self.processes, self.listener = agreement, processes, listener
        self.in_flight = DeferredMetrics[Unfinished](device)
        self.bad_in_a_row = 0

    def add(self, step: Unfinished, figures: Tensor, started: float) -> None:
        """Take in the figures of a step that began then (`time.perf_counter`); from a GPU, those of the one before.

        Raises:
            NonFiniteError: too many bad steps in a row.
        """
        arrived = self.in_flight.send(step, figures)
        self._clock(started)
        self._hear(arrived)

    def land(self) -> None:
        """Take in the figures that are still on their way; raises as `add`."""
        started = time.perf_counter()
        arrived = self.in_flight.land()
        self._clock(started)
        self._hear(arrived)

    def _clock(self, started: float) -> None:
        elapsed = time.perf_counter() - started
        self.progression.seconds += elapsed
        self.progression.epoch_seconds += elapsed

    def _hear(self, arrived: list[tuple[Unfinished, list[float]]]) -> None:
        at = self.progression
        for unfinished, (bits, norm, *flags) in arrived:
            self.agreement.receive(flags)
            step = unfinished(bits_per_dim=bits, grad_norm=norm)
            if math.isfinite(bits) and math.isfinite(norm):
                at.epoch_bits += bits * step.images
                at.epoch_norm += norm * step.images
                at.epoch_images += step.images
                self.bad_in_a_row = 0
            else:
                with self.processes.together():
                    self._count_bad_step(step.step)
            self.listener.on_step(step)

    def _count_bad_step(self, step: int) -> None:
        self.progression.bad_steps += 1
        self.bad_in_a_row += 1
        self.listener.on_warning(f"step {step}: loss or gradient is not finite; the step was skipped")
        if self.bad_in_a_row >= self.max_bad_steps:
            raise NonFiniteError(
                f"loss or gradient were not finite for {self.bad_in_a_row} steps in a row; the last checkpoint in "
                f"{self.run} is sound: go on from it with a smaller --lr"
            )
