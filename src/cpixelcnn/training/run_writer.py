"""What the first process of a training writes into the run directory, and what becomes of writes that fail.

A full disk is told of and survived, except at the very end, where the work would be lost unsaid.
"""

from __future__ import annotations

from pathlib import Path

from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.plots.curves import save_curves
from cpixelcnn.progress import Progress
from cpixelcnn.runs.environment import Environment, record_environment
from cpixelcnn.runs.layout import checkpoint_paths
from cpixelcnn.runs.metrics_log import EpochRecord, MetricsLog
from cpixelcnn.storage import write_json
from cpixelcnn.training.callbacks import TrainingListener
from cpixelcnn.training.checkpoint import TrainState, point_links, save_checkpoint
from cpixelcnn.training.validation import draw_samples


class RunWriter:
    """Writes a run.

    Args:
        run: its directory, which this process holds.
        config: of the run.
        trainee: what is saved.
        listener: hears of what could not be written.
    """

    def __init__(self, run: Path, config: RunConfig, trainee: TrainState, listener: TrainingListener) -> None:
        self.run, self.config, self.trainee, self.listener = run, config, trainee, listener

    def open(self, checkpoint: Path | None, environment: Environment) -> None:
        """Write what is known before the first step; the links follow the checkpoint that is gone on from.

        Raises:
            ConfigError: the directory cannot be written to.
        """
        if checkpoint is not None:
            point_links(self.run, self.trainee.progression, checkpoint)
        try:
            write_json(self.run / "config.json", self.config.to_json())
            record_environment(self.run, environment)
        except OSError as error:
            raise ConfigError(
                f"{self.run} cannot be written to ({error.strerror}); make room, or choose another directory with --out"
            ) from None

    def log(self, metrics: MetricsLog, record: EpochRecord) -> None:
        """Write the figures of an epoch, and draw the curves anew where it was validated."""
        try:
            metrics.append(record)
        except OSError as error:
            self.listener.on_warning(f"the figures of epoch {record.epoch} could not be written ({error.strerror})")
        if record.validation_images is not None:
            try:
                title = f"{self.run.name}: {self.config.data.dataset}"
                save_curves(self.run, title=title, nr_classes=self.config.model.nr_classes)
            except Exception as error:  # no picture is worth a training
                self.listener.on_warning(f"the curves could not be drawn ({error})")

    def save(self, finished: bool) -> None:
        """Save a checkpoint.

        Raises:
            CheckpointError: the last one could not be saved.
        """
        try:
            save_checkpoint(self.run, self.config, self.trainee, finished=finished)
        except OSError as error:
            kept = checkpoint_paths(self.run)
            message = f"the checkpoint at step {self.trainee.progression.step} could not be saved ({error.strerror})"
            if finished:
                raise CheckpointError(f"{message}; make room and run again with --resume {self.run}") from None
            older = f"{kept[-1].name} is still good" if kept else "there is none yet"
            self.listener.on_warning(f"{message}; training goes on, {older}")

    def draw_samples(self, progress: Progress) -> Path | None:
        """Draw a grid with the moving average; returns its path, or None where it could not be written."""
        epoch, seed = self.trainee.progression.epoch, self.config.train.seed
        try:
            path = draw_samples(self.run, self.trainee.ema.model, epoch, seed, progress)
        except OSError as error:
            self.listener.on_warning(f"the samples of epoch {epoch} could not be written ({error.strerror})")
            return None
        self.listener.on_samples(path)
        return path
