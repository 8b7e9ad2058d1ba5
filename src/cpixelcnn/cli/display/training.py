"""How a training looks: a line that moves on a terminal, plain lines elsewhere, and a table of the epochs."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.markup import escape

from cpixelcnn import progress as library_progress
from cpixelcnn.cli import console
from cpixelcnn.cli.display.epoch_table import EpochTable
from cpixelcnn.cli.display.live_line import LiveLine
from cpixelcnn.cli.display.pace import Pace, Smoothed
from cpixelcnn.errors import plural
from cpixelcnn.runs.metrics_log import EpochRecord
from cpixelcnn.training.callbacks import Callback, StepRecord, TrainingStart

_REFRESHES = 5  # a second
SAMPLES = "samples"  # the name of that activity


class TrainingDisplay(Callback):
    """A context in which a training is shown on stderr; the metrics of the epochs go to stdout.

    Args:
        epochs_to_stderr: for where stdout is for a document.
        afterwards: the work that follows the last epoch and its samples; no time is known of it beforehand.
    """

    def __init__(self, *, epochs_to_stderr: bool = False, afterwards: Sequence[str] = ()) -> None:
        self.epochs_to_stderr = epochs_to_stderr
        self.afterwards = tuple(afterwards)
        self.live: Live | None = None
        self.line = LiveLine(0)
        self.bits, self.grad_norm = Smoothed(), Smoothed()
        self.last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def on_start(self, start: TrainingStart) -> None:
        console.info(
            f"run        {start.run}\n"
            f"model      {start.nr_parameters:,} parameters, {start.precision} ({start.precision_reason})\n"
            f"images     {start.train_images} for training, {start.validation_images} for validation"
        )
        if start.compiled:
            console.info(f"compiled   with torch.compile, which takes a minute or more ({start.compiled_reason})")
        if not start.threads_reason.startswith("auto: all"):
            console.info(f"threads    {start.threads} ({start.threads_reason})")
        if start.processes > 1:
            smaller, larger = divmod(start.config.train.batch_size, start.processes)
            share = f"{smaller} or {smaller + 1}" if larger else str(smaller)
            console.info(
                f"batch      {start.config.train.batch_size} images, {share} for each of {start.processes} processes"
            )
        if start.images_seen:
            epochs = plural(start.epochs_done, "epoch")
            console.info(f"resumed    after {epochs}, {plural(start.images_seen, 'image')}")
        self.epochs = start.epochs
        self.table = EpochTable(start.epochs, start.config.model.conditional)
        total = start.epochs * start.train_images
        self.pace = Pace(start.images_seen, total, start.train_images)
        self.line = LiveLine(total)
        self.line.images_seen = start.images_seen
        self.line.afterwards = (SAMPLES, *self.afterwards)
        terminal = console.stderr()
        if terminal.is_interactive and not (
            console.silent or console.quiet
        ):  # a dumb terminal is not: nothing moves there
            self.live = Live(self.line, console=terminal, refresh_per_second=_REFRESHES, transient=True)
            self.live.start()

    def on_step(self, step: StepRecord) -> None:
        self.pace.step(step.images_seen)
        bits, norm = self.bits.add(step.bits_per_dim), self.grad_norm.add(step.grad_norm)
        self.line.activity, self.line.images_seen = "", step.images_seen
        self.line.where = f"epoch {step.epoch + 1}/{self.epochs}"
        self.line.remaining = console.duration(self.pace.remaining)
        self.line.set_figures(step.step, bits, norm, step.lr, self.pace.images_per_second)
        now = time.monotonic()
        if not self.live and now - self.last_line >= console.PLAIN_INTERVAL:
            self.last_line = now
            console.info(self.line.plain())

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        self.pace.end_epoch()
        terminal = console.stderr() if self.epochs_to_stderr else console.stdout()
        lines = self.table.lines(record, is_best, terminal.width if terminal.is_terminal else None)
        self._print("\n".join(lines))

    def on_samples(self, path: Path) -> None:
        self.pace.go_on()
        self._print(f"samples    {path}")

    def on_warning(self, message: str) -> None:
        if self.live:  # past the live console, it would be written across the line that moves
            self.live.console.print(escape(f"warning: {console.with_flags(message)}"), style="yellow")
        else:
            console.warn(message)

    def activity(self, name: str) -> library_progress.Progress:
        self.pace.pause()
        plain = None if self.live else console.PlainProgress(name)
        if name == SAMPLES and self.pace.images_seen >= self.pace.total_images:
            self.line.afterwards = self.afterwards
        started = time.monotonic()
        steps = self.pace.remaining if math.isfinite(self.pace.remaining) else 0.0  # unknown before the first step

        def report(done: int, total: int) -> None:
            self.line.activity = f"{name} {100 * done // total} %"
            here = (time.monotonic() - started) * (total - done) / max(done, 1)
            self.line.remaining = console.duration(here + steps)
            if plain:
                plain(done, total)

        return report

    def _print(self, line: str) -> None:
        if self.live and (self.epochs_to_stderr or console.stdout().is_terminal):
            self.live.console.print(escape(line))
        elif self.epochs_to_stderr:
            console.info(line)
        else:
            console.print_result(escape(line))
