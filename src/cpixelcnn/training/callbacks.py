"""What a training reports while it runs. The library never prints: it calls the methods of a `Callback`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cpixelcnn.config import RunConfig
from cpixelcnn.progress import Progress, silent
from cpixelcnn.runs.metrics_log import EpochRecord


@dataclass(frozen=True)
class TrainingStart:
    """Facts known before the first step."""

    run: Path
    config: RunConfig
    nr_parameters: int
    train_images: int
    validation_images: int
    epochs: int
    epochs_done: int
    steps_done: int
    images_seen: int
    precision: str
    precision_reason: str
    compiled: bool = False
    compiled_reason: str = ""
    processes: int = 1
    threads: int = 1
    threads_reason: str = ""


@dataclass(frozen=True)
class StepPosition:
    """Where a step is in the training; `step` counts from 1 and `epoch` from 0, the images include this step's."""

    step: int
    epoch: int
    images: int
    images_in_epoch: int
    epoch_images: int
    images_seen: int
    lr: float


@dataclass(frozen=True)
class StepRecord(StepPosition):
    """One step of the optimiser. Bits/dim or gradient norm are not finite in a step that was skipped for that."""

    bits_per_dim: float
    grad_norm: float


class Callback:
    """Base class whose methods do nothing; override what is of interest. Any method may raise to stop the training."""

    def on_start(self, start: TrainingStart) -> None:
        """Before the first step."""

    def on_step(self, step: StepRecord) -> None:
        """After every step."""

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        """After every epoch, its validation included."""

    def on_save(self, checkpoint: Path) -> None:
        """After a checkpoint was saved."""

    def on_samples(self, path: Path) -> None:
        """After a sample grid was written."""

    def on_warning(self, message: str) -> None:
        """Something went wrong, and the training goes on."""

    def activity(self, name: str) -> Progress:
        """A progress callback for work beside the steps, such as "validation"."""
        return silent


class Callbacks(Callback):
    """Passes everything on to several others, in the order given."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)

    def on_start(self, start: TrainingStart) -> None:
        for callback in self.callbacks:
            callback.on_start(start)

    def on_step(self, step: StepRecord) -> None:
        for callback in self.callbacks:
            callback.on_step(step)

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        for callback in self.callbacks:
            callback.on_epoch(record, is_best)

    def on_save(self, checkpoint: Path) -> None:
        for callback in self.callbacks:
            callback.on_save(checkpoint)

    def on_samples(self, path: Path) -> None:
        for callback in self.callbacks:
            callback.on_samples(path)

    def on_warning(self, message: str) -> None:
        for callback in self.callbacks:
            callback.on_warning(message)

    def activity(self, name: str) -> Progress:
        reports = [callback.activity(name) for callback in self.callbacks]

        def progress(done: int, total: int) -> None:
            for report in reports:
                report(done, total)

        return progress
