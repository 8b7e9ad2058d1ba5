"""How a training looks: a live bar on a terminal, plain lines elsewhere, and a line for every validated epoch."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from cpixelcnn import progress as library_progress
from cpixelcnn.cli import console
from cpixelcnn.training.listener import StepRecord, TrainingListener, TrainingStart
from cpixelcnn.training.metrics_log import EpochRecord

_SMOOTHING = 0.98  # of the shown bits/dim, over steps


class TrainingDisplay(TrainingListener):
    """A context in which a training is shown on stderr; the lines of the epochs go to stdout."""

    def __init__(self) -> None:
        terminal = console.stderr()
        self.bar: Progress | None = None
        if terminal.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[figures]}"),
            )
            self.bar = Progress(*columns, console=terminal, transient=True, expand=True)
        self.task = TaskID(0)
        self.smoothed_bits = math.nan
        self.last_line = self.clock_start = time.monotonic()
        self.paused = 0.0  # seconds spent beside the steps, which must not count as slowness
        self.images_at_start = 0

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def on_start(self, start: TrainingStart) -> None:
        self.epochs = start.epochs
        self.total_images = start.epochs * start.train_images
        self.images_at_start = start.images_seen
        self.clock_start = time.monotonic()
        console.tell(
            f"run        {start.run}\n"
            f"model      {start.nr_parameters:,} parameters, {start.precision} ({start.precision_reason})\n"
            f"images     {start.train_images} for training, {start.validation_images} for validation"
        )
        if start.images_seen:
            console.tell(f"resumed    after {start.epochs_done} epochs, {start.images_seen} images")
        if self.bar:
            self.task = self.bar.add_task("", total=self.total_images, completed=start.images_seen, figures="")

    def on_step(self, step: StepRecord) -> None:
        if math.isfinite(step.bits_per_dim):
            old = self.smoothed_bits if math.isfinite(self.smoothed_bits) else step.bits_per_dim
            self.smoothed_bits = _SMOOTHING * old + (1 - _SMOOTHING) * step.bits_per_dim
        now = time.monotonic()
        elapsed = now - self.clock_start - self.paused
        speed = (step.images_seen - self.images_at_start) / max(elapsed, 1e-9)
        remaining = console.duration((self.total_images - step.images_seen) / max(speed, 1e-9))
        figures = f"{self.smoothed_bits:.3f} bits/dim  {speed:.0f} images/s  ETA {remaining}"
        name = f"epoch {step.epoch + 1}/{self.epochs}"
        if self.bar:
            self.bar.update(self.task, description=name, completed=step.images_seen, figures=figures)
        elif now - self.last_line >= console.PLAIN_INTERVAL:
            self.last_line = now
            console.tell(f"{name}  step {step.step}  {figures}")

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        train_bits = "-" if record.train_bpd is None else f"{record.train_bpd:.3f}"
        line = f"epoch {record.epoch}/{self.epochs}  train {train_bits}"
        if record.validation_bpd_marginal is not None:
            line += f"  validation {record.validation_bpd or record.validation_bpd_marginal:.3f} bits/dim"
        if record.accuracy is not None and record.accuracy_low is not None and record.accuracy_high is not None:
            interval = f"{100 * record.accuracy_low:.1f}-{100 * record.accuracy_high:.1f}"
            line += f"  accuracy {100 * record.accuracy:.1f} % ({interval})"
        self._print(line + ("  best" if is_best else ""))

    def on_samples(self, path: Path) -> None:
        self._print(f"samples    {path}")

    def on_warning(self, message: str) -> None:
        console.warn(message)

    def activity(self, name: str) -> library_progress.Progress:
        started, before = time.monotonic(), self.paused
        plain = None if self.bar else console.PlainProgress(name)

        def report(done: int, total: int) -> None:
            self.paused = before + time.monotonic() - started
            if self.bar:
                self.bar.update(self.task, figures=f"{name} {100 * done // total} %")
            elif plain:
                plain(done, total)

        return report

    def _print(self, line: str) -> None:
        if self.bar and console.stdout().is_terminal:
            self.bar.console.print(escape(line))
        else:
            console.show(escape(line))
