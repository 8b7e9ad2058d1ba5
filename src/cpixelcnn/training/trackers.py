"""Training metrics for TensorBoard and Weights & Biases, both optional: scalars, sample grids and the configuration.

Points are placed by training step. A training that goes on continues its curves without a gap or a duplicate: points
of steps that the checkpoint does not know are hidden (TensorBoard) or kept and not repeated (Weights & Biases).
"""

from __future__ import annotations

import importlib
import json
import math
import os
import secrets
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cpixelcnn.errors import ConfigError, Interrupted
from cpixelcnn.foreign_files import UnreadableFileError, read_text
from cpixelcnn.runs.metrics_log import EpochRecord
from cpixelcnn.storage import write_text
from cpixelcnn.training.callbacks import Callback, StepRecord, TrainingStart

STEPS_PER_POINT = 50
_OF_STEPS = ("bits_per_dim", "grad_norm", "lr")
_IN_TRAINING = ("train_bpd", "lr", "grad_norm", "clipped", "images_per_second", "bad_steps", "seconds")


class Tracker(Callback):
    """A context in which a training is recorded elsewhere as well; a failure there is told of and ends the recording.

    Every `steps_per_point` steps the means of the steps since the last point are recorded, and after every epoch its
    metrics.
    """

    name = "tracker"

    def __init__(self, warn: Callable[[str], None] = lambda _: None, steps_per_point: int = STEPS_PER_POINT) -> None:
        self.warn, self.steps_per_point = warn, steps_per_point
        self.steps: list[StepRecord] = []
        self.failed = False
        self.at_step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        crashed = error is not None and not isinstance(error, Interrupted | KeyboardInterrupt)
        self._try(self.close, crashed)

    def on_start(self, start: TrainingStart) -> None:
        self.at_step = start.steps_done
        self.open(start)

    def on_step(self, step: StepRecord) -> None:
        self.at_step = step.step
        self.steps.append(step)
        if step.step % self.steps_per_point == 0:
            steps, self.steps = self.steps, []
            means = {f"step/{name}": _mean([getattr(step, name) for step in steps]) for name in _OF_STEPS}
            self._log({**means, "epoch": step.epoch + step.images_in_epoch / step.epoch_images})

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        metrics: dict[str, float | None] = {}
        for field in fields(EpochRecord):
            if field.name not in ("epoch", "step", "images_seen", "validation_images"):
                group = "training" if field.name in _IN_TRAINING else "validation"
                name = field.name.removeprefix("train_").removeprefix("validation_")
                metrics[f"{group}/{name}"] = getattr(record, field.name)
        self._log({**metrics, "epoch": float(record.epoch)})

    def on_samples(self, path: Path) -> None:
        if not self.failed:
            self._try(self.log_image, "samples", path)

    @abstractmethod
    def open(self, start: TrainingStart) -> None:
        """Begin, or go on.

        Raises:
            ConfigError: the service cannot be used.
        """

    @abstractmethod
    def log_scalars(self, metrics: dict[str, float]) -> None:
        """Record metrics at the present step."""

    @abstractmethod
    def log_image(self, name: str, path: Path) -> None:
        """Record a picture at the present step."""

    @abstractmethod
    def close(self, crashed: bool) -> None:
        """Write what is left."""

    def _log(self, metrics: dict[str, float | None]) -> None:
        known = {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}
        if not self.failed:
            self._try(self.log_scalars, known)

    def _try(self, record: Callable[..., None], *arguments: Any) -> None:
        """Record something; after the first failure nothing more is recorded, and the training goes on."""
        try:
            record(*arguments)
        except Exception as error:
            if not self.failed:
                self.warn(f"{self.name} records no more: {str(error).strip() or type(error).__name__}")
            self.failed = True


class TensorBoardTracker(Tracker):
    """Event files in the run's folder `tensorboard`.

    Raises:
        ConfigError: the package is not installed.
    """

    name = "TensorBoard"

    def __init__(self, warn: Callable[[str], None] = lambda _: None, steps_per_point: int = STEPS_PER_POINT) -> None:
        super().__init__(warn, steps_per_point)
        _require("tensorboard")
        self.writer: Any = None

    def open(self, start: TrainingStart) -> None:
        module = importlib.import_module("torch.utils.tensorboard")
        # Steps after the checkpoint were recorded by a call that was killed: TensorBoard hides them.
        purge = start.steps_done + 1 if start.steps_done else None
        try:
            self.writer = module.SummaryWriter(str(start.run / "tensorboard"), purge_step=purge)
        except OSError as error:
            raise ConfigError(f"`tensorboard`: {start.run} cannot be written to ({error.strerror})") from None
        indented = "\n".join("    " + line for line in json.dumps(start.config.to_json(), indent=2).splitlines())
        self.writer.add_text("configuration", indented, start.steps_done)

    def log_scalars(self, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, self.at_step)

    def log_image(self, name: str, path: Path) -> None:
        self.writer.add_image(name, _pixels(path), self.at_step, dataformats="HWC")
        self.writer.flush()

    def close(self, crashed: bool) -> None:
        if self.writer is not None:
            self.writer.close()


class WandbTracker(Tracker):
    """A run of Weights & Biases, which goes on with the training; its files lie in the run's folder `wandb`.

    The project is "cpixelcnn" unless WANDB_PROJECT says otherwise; WANDB_MODE=offline needs no account and no network.

    Raises:
        ConfigError: the package is not installed.
    """

    name = "Weights & Biases"

    def __init__(self, warn: Callable[[str], None] = lambda _: None, steps_per_point: int = STEPS_PER_POINT) -> None:
        super().__init__(warn, steps_per_point)
        self.wandb = _require("wandb")
        self.tracked: Any = None

    def open(self, start: TrainingStart) -> None:
        wandb = self.wandb
        try:
            self.tracked = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "cpixelcnn"),
                name=start.run.resolve().name,
                id=self._identifier(start),
                resume="allow",
                dir=str(start.run),
                config={**start.config.to_json(), "nr_parameters": start.nr_parameters, "precision": start.precision},
                settings=wandb.Settings(console="off"),  # what is shown is a line that moves, not a log
            )
        except (OSError, wandb.errors.Error) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(
                f"`wandb`: {reason}; run `wandb login`, or set WANDB_MODE=offline and upload later with `wandb sync`"
            ) from None

    def _identifier(self, start: TrainingStart) -> str:
        """The same for all calls of one training; a fresh training gets a new one."""
        path = start.run / "wandb" / "id"
        with suppress(UnreadableFileError):
            if start.steps_done and (stored := read_text(path).strip()).isalnum():
                return stored
        identifier = secrets.token_hex(4)
        path.parent.mkdir(exist_ok=True)
        write_text(path, f"{identifier}\n")
        return identifier

    def log_scalars(self, metrics: dict[str, float]) -> None:
        self.tracked.log(metrics, step=self.at_step)

    def log_image(self, name: str, path: Path) -> None:
        self.tracked.log({name: self.wandb.Image(_pixels(path))}, step=self.at_step)

    def close(self, crashed: bool) -> None:
        if self.tracked is not None:
            self.tracked.finish(exit_code=int(crashed))


def _require(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigError(f"`{package}` needs another package: pip install 'cpixelcnn[{package}]'") from None


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None
