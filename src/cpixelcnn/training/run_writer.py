"""What process 0 of a training writes into the run directory, and what happens when a write fails.

A full disk causes a warning and the training goes on, except at the very end, where the result would be lost.
"""

from __future__ import annotations

from pathlib import Path

from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError, ConfigError, NonFiniteError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import save_weights
from cpixelcnn.plots.curves import save_curves
from cpixelcnn.progress import Progress
from cpixelcnn.runs.environment import Environment, record_environment
from cpixelcnn.runs.layout import REFERENCE, checkpoint_paths
from cpixelcnn.runs.metrics_log import EpochRecord, MetricsLog
from cpixelcnn.storage import remove, write_json
from cpixelcnn.training.callbacks import Callback
from cpixelcnn.training.checkpoint import point_to_checkpoints, save_checkpoint
from cpixelcnn.training.state import TrainState
from cpixelcnn.training.validation import save_samples


class RunWriter:
    """Writes a run.

    Args:
        run: its directory, which this process has locked.
        config: of the run.
        state: what is saved.
        callback: is warned of what could not be written.
    """

    def __init__(self, run: Path, config: RunConfig, state: TrainState, callback: Callback) -> None:
        self.run, self.config, self.state, self.callback = run, config, state, callback

    def open(self, checkpoint: Path | None, environment: Environment, reference: PixelCNN | None = None) -> None:
        """Write what is known before the first step; `last` and `best` are set to the checkpoint that is resumed.

        Args:
            checkpoint: that is resumed, or None.
            environment: of this call.
            reference: what a new training is compared with, or None.

        Raises:
            ConfigError: the directory cannot be written to.
        """
        for folder in (self.run, self.run / "samples"):
            for leftover in folder.glob(".*.tmp"):  # of a call that was killed while it wrote
                remove(leftover)
        try:
            if checkpoint is not None:
                point_to_checkpoints(self.run, self.state.progress, checkpoint)
            elif reference is not None:
                save_weights(self.run / REFERENCE, reference.state_dict(), self.config)
            write_json(self.run / "config.json", self.config.to_json())
            record_environment(self.run, environment)
        except OSError as error:
            raise ConfigError(
                f"{self.run} cannot be written to ({error.strerror}); make room, or choose another `run`"
            ) from None

    def log(self, metrics: MetricsLog, record: EpochRecord) -> None:
        """Write the metrics of an epoch, and the curves if it was validated."""
        try:
            metrics.append(record)
        except OSError as error:
            self.callback.on_warning(f"the metrics of epoch {record.epoch} could not be written ({error.strerror})")
        if record.validation_images is not None:
            try:
                title = f"{self.run.name}: {self.config.data.dataset}"
                save_curves(self.run, title=title, nr_classes=self.config.model.nr_classes)
            except Exception as error:  # no picture is worth a training
                self.callback.on_warning(f"the curves could not be drawn ({error})")

    def save(self, finished: bool) -> bool:
        """Save a checkpoint; returns whether it was possible.

        Raises:
            CheckpointError: the last one could not be saved.
            NonFiniteError: a weight or its moving average is not finite, which no checkpoint must be.
        """
        self._require_finite_weights()
        try:
            warn = self.callback.on_warning
            saved = save_checkpoint(self.run, self.config, self.state, finished=finished, warn=warn)
        except OSError as error:
            kept = checkpoint_paths(self.run)
            message = f"the checkpoint at step {self.state.progress.step} could not be saved ({error.strerror})"
            if finished:
                raise CheckpointError(f"{message}; make room and go on with `resume` {self.run}") from None
            older = f"{kept[-1].name} is still good" if kept else "there is none yet"
            self.callback.on_warning(f"{message}; training goes on, {older}")
            return False
        self.callback.on_save(saved)
        return True

    def _require_finite_weights(self) -> None:
        parameters = [*self.state.model.parameters(), *self.state.ema.model.parameters()]
        if not all(bool(parameter.isfinite().all()) for parameter in parameters):
            raise NonFiniteError(
                f"weights are not finite after step {self.state.progress.step}; the checkpoints in {self.run} are "
                "good: resume with a smaller `lr`"
            )

    def save_samples(self, progress: Progress) -> Path | None:
        """Write a grid of samples of the moving average; returns its path, or None if it could not be written."""
        epoch, seed = self.state.progress.epoch, self.config.train.seed
        try:
            path = save_samples(self.run, self.state.ema.model, epoch, seed, progress)
        except OSError as error:
            self.callback.on_warning(f"the samples of epoch {epoch} could not be written ({error.strerror})")
            return None
        self.callback.on_samples(path)
        return path
