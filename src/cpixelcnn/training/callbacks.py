"""What a training tells while it runs. The library calls; whoever wants to show something overrides."""

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


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step. `bits_per_dim` and `grad_norm` are not finite in a step that was skipped for it."""

    step: int
    epoch: int
    images: int
    images_in_epoch: int
    epoch_images: int
    images_seen: int
    lr: float
    bits_per_dim: float
    grad_norm: float


class TrainingListener:
    """Hears nothing; override what is of interest. Any method may raise to stop the training."""

    def on_start(self, start: TrainingStart) -> None:
        """Before the first step."""

    def on_step(self, step: StepRecord) -> None:
        """After every step."""

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        """After every epoch, its validation included."""

    def on_samples(self, path: Path) -> None:
        """After a sample grid was written."""

    def on_warning(self, message: str) -> None:
        """Something went wrong that training survives."""

    def activity(self, name: str) -> Progress:
        """A progress callback for work beside the steps, such as "validation"."""
        return silent


class Listeners(TrainingListener):
    """Passes everything on to several others, in their order."""

    def __init__(self, listeners: Sequence[TrainingListener]) -> None:
        self.listeners = tuple(listeners)

    def on_start(self, start: TrainingStart) -> None:
        for listener in self.listeners:
            listener.on_start(start)

    def on_step(self, step: StepRecord) -> None:
        for listener in self.listeners:
            listener.on_step(step)

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        for listener in self.listeners:
            listener.on_epoch(record, is_best)

    def on_samples(self, path: Path) -> None:
        for listener in self.listeners:
            listener.on_samples(path)

    def on_warning(self, message: str) -> None:
        for listener in self.listeners:
            listener.on_warning(message)

    def activity(self, name: str) -> Progress:
        reports = [listener.activity(name) for listener in self.listeners]

        def progress(done: int, total: int) -> None:
            for report in reports:
                report(done, total)

        return progress
