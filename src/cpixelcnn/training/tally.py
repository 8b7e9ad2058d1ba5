"""What came of the steps: their figures as they arrive, the time that they took, and those that were bad."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.distributed import Processes
from cpixelcnn.errors import NonFiniteError
from cpixelcnn.training.checkpoint import Progression
from cpixelcnn.training.figures import FiguresInFlight
from cpixelcnn.training.listener import StepRecord, TrainingListener
from cpixelcnn.training.parallel import Agreement

Unfinished = Callable[..., StepRecord]  # makes the record of a step when `bits_per_dim` and `grad_norm` are known


class StepTally:
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
        progression: Progression,
        device: torch.device,
        agreement: Agreement,
        processes: Processes,
        listener: TrainingListener,
    ) -> None:
        self.run, self.max_bad_steps, self.progression = run, max_bad_steps, progression
        self.agreement, self.processes, self.listener = agreement, processes, listener
        self.in_flight = FiguresInFlight[Unfinished](device)
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
            self.agreement.hear(flags)
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
