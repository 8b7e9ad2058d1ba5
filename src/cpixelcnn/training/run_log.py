"""`train.log` of a run: what happened and when, a line each, for whoever comes later; the same through `logging`."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cpixelcnn.errors import CpixelcnnError, Interrupted, first_line, plural
from cpixelcnn.runs.metrics_log import EpochRecord
from cpixelcnn.training.callbacks import Callback, TrainingStart

LOG = "train.log"

_log = logging.getLogger(__name__)


class RunLog(Callback):
    """A context in which a training is logged: into the run's `train.log`, and to the handlers that a program has set.

    Whether the loggers `cpixelcnn...` are heard elsewhere is the program's choice; the file has everything. A log that
    cannot be written stops nothing.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.file: logging.FileHandler | None = None
        self.epochs = 0

    def __enter__(self) -> Self:
        path = self.run / LOG
        with suppress(OSError):
            if path.is_file() or not path.exists():  # a pipe would wait for a reader
                self.file = _Lines(path, encoding="utf-8", errors="replace")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            said = str(error) if isinstance(error, CpixelcnnError) else f"{type(error).__name__}: {first_line(error)}"
            self.say(said, logging.INFO if isinstance(error, Interrupted) else logging.ERROR)
        if self.file is not None:
            with suppress(OSError):
                self.file.close()

    def say(self, text: str, level: int = logging.INFO) -> None:
        """Log a line."""
        text = "".join(character if character.isprintable() else "\ufffd" for character in text.replace("\n", " "))
        record = _log.makeRecord(_log.name, level, __file__, 0, text, (), None)
        if self.file is not None:
            self.file.handle(record)
        if _log.isEnabledFor(level) and _log.hasHandlers():  # without any, Python would print warnings
            _log.handle(record)

    def on_start(self, start: TrainingStart) -> None:
        self.epochs = start.epochs
        resumed = f"resumed after {plural(start.epochs_done, 'epoch')}, {plural(start.images_seen, 'image')}"
        begun = resumed if start.images_seen else "started"
        self.say(
            f"{begun}: {start.nr_parameters} parameters, {start.precision} ({start.precision_reason}), "
            f"{plural(start.train_images, 'image')} for training, {start.validation_images} for validation, "
            f"{start.processes} process{'es' * (start.processes != 1)}, {plural(start.threads, 'thread')}"
        )
        self.say(f"configuration {json.dumps(start.config.to_json())}")

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        metrics = {
            "train": record.train_bpd,
            "validation": record.validation_bpd_marginal,
            "accuracy": record.accuracy,
            "gradient norm": record.grad_norm,
            "clipped": record.clipped,
            "images/s": record.images_per_second,
        }
        known = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None)
        self.say(f"epoch {record.epoch}/{self.epochs}: {known}{' (best)' if is_best else ''}")

    def on_save(self, checkpoint: Path) -> None:
        self.say(f"saved {checkpoint.name}")

    def on_samples(self, path: Path) -> None:
        self.say(f"samples {path}")

    def on_warning(self, message: str) -> None:
        self.say(message, logging.WARNING)


class _Lines(logging.FileHandler):
    """Lines with the time in UTC; one that cannot be written is left out without a word."""

    def __init__(self, path: Path, *, encoding: str, errors: str) -> None:
        super().__init__(path, encoding=encoding, errors=errors)
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        pass
