"""The training loop: maximise log p(x | c) with Adam, keep the moving average, validate with it, and never lose work.

The clock of a training is the number of *images seen*. The order of an epoch, the augmentation and the dropout of a
step are functions of (seed, clock), so that a resumed training needs no stored random state and repeats an
uninterrupted one bit for bit on a CPU.

Of several processes each runs this loop and takes its share of every batch (`parallel`); the first of them writes.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.splits import balanced_subset
from cpixelcnn.device import choose_precision
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import ConfigError, DataError, Interrupted
from cpixelcnn.progress import Progress
from cpixelcnn.runs.environment import describe_environment
from cpixelcnn.runs.layout import checkpoint_paths
from cpixelcnn.runs.metrics_log import EpochRecord, MetricsLog
from cpixelcnn.training.batches import BatchSource, epoch_permutation
from cpixelcnn.training.callbacks import StepRecord, TrainingListener, TrainingStart
from cpixelcnn.training.checkpoint import TrainState, locked
from cpixelcnn.training.compilation import choose_compilation
from cpixelcnn.training.host_memory import freed_memory_kept
from cpixelcnn.training.objective import Objective, check_discriminative
from cpixelcnn.training.parallel import Agreement, ParallelNetwork, check_processes
from cpixelcnn.training.preparation import check_images, prepare
from cpixelcnn.training.run_writer import RunWriter
from cpixelcnn.training.schedule import learning_rate
from cpixelcnn.training.step import TrainingStep
from cpixelcnn.training.step_metrics import StepMetrics
from cpixelcnn.training.stopping import StopRequest, TimeBudget, TimeSpent
from cpixelcnn.training.validation import is_better, validation_figures
from cpixelcnn.training.warm_start import initial_weights


@dataclass(frozen=True)
class TrainResult:
    """A training that has ended.

    Attributes:
        run: its directory.
        best: the validation figures of the best epoch.
        sample_grid: the last one, or None.
        seconds: spent in steps.
        finished: whether it is complete; if not, its time was over (`max_minutes`), and it can go on.
        note: one sentence on why it ended before the last epoch; empty if it did not.
    """

    run: Path
    best: dict[str, float]
    sample_grid: Path | None
    seconds: float
    finished: bool = True
    note: str = ""


def train(
    config: RunConfig,
    train_set: ImageSet,
    validation_set: ImageSet,
    run: Path,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    listener: TrainingListener | None = None,
    stop: StopRequest | None = None,
    command: Sequence[str] = (),
    processes: Processes = ALONE,
) -> TrainResult:
    """Train a model, from the start or from a checkpoint, until `config.train.epochs` epochs are complete.

    It ends before that where there was no better validation for long enough (`patience`), and pauses where the time
    of this call is over (`max_minutes`).

    Args:
        config: everything about the run; its model must suit the images.
        train_set, validation_set: labelled images (an unconditional model does without labels).
        run: the run directory, created if need be.
        device: where to compute.
        checkpoint: continue from this checkpoint of the same run directory.
        listener: hears of steps, epochs and warnings.
        stop: a request to stop, looked at after every step; the state is saved before `Interrupted` is raised.
        command: the command line that this came from, for the run's `environment.json`.
        processes: those that train together; each of them calls this, with the same configuration and images.

    Raises:
        ConfigError: the directory cannot be written to, is in use, or holds a run and no checkpoint was given.
        DataError: images and model do not fit, or labels are missing.
        CheckpointError: the checkpoint cannot be restored, or the final one not be saved.
        NonFiniteError: loss or gradient were not finite for `max_bad_steps` steps in a row.
        Interrupted: a stop was requested.
    """
    listener, stop = listener or TrainingListener(), stop or StopRequest()
    check_processes(processes, device, config.train.batch_size)
    with ExitStack() as held:
        if device.type == "cpu":
            held.enter_context(freed_memory_kept())
        with processes.together():
            check_images(config, train_set, validation_set)
            check_discriminative(config)
            source = config.train.init_from if checkpoint is None else None
            weights = initial_weights(source, config.model) if source else None
            if processes.is_main:
                held.enter_context(locked(run))
            if processes.is_main and checkpoint is None and checkpoint_paths(run):
                raise ConfigError(f"{run} already holds a run; go on with --resume {run}, or choose another --out")
            trainee = prepare(config, train_set, device, checkpoint, weights)
            training = _Training(
                config, train_set, validation_set, run, device, checkpoint, trainee, listener, stop, processes
            )
        return training.run_to_end(command)


class _Training:
    """One call of `train`: the loop, and the progression of the training on its clock."""

    def __init__(
        self,
        config: RunConfig,
        train_set: ImageSet,
        validation_set: ImageSet,
        run: Path,
        device: torch.device,
        checkpoint: Path | None,
        trainee: TrainState,
        listener: TrainingListener,
        stop: StopRequest,
        processes: Processes,
    ) -> None:
        self.config, self.options, self.run, self.device = config, config.train, run, device
        self.train_set, self.checkpoint, self.trainee = train_set, checkpoint, trainee
        self.listener, self.stop, self.processes = listener, stop, processes
        subset = config.train.eval_images
        if 0 < subset < len(validation_set):
            validation_set = validation_set.select(balanced_subset(validation_set.labels, subset))
        self.validation_set = validation_set
        self.precision = choose_precision(config.train.precision, device)
        self.feed = BatchSource(train_set, config.train, device)
        self.compilation = choose_compilation(config.train.compile, device)
        self.objective = Objective(config, self.precision.name, device)
        self.writer = RunWriter(run, config, trainee, listener)
        self.budget = TimeBudget(config.train.max_minutes)
        seen = trainee.progression.train_images
        if seen not in (0, len(train_set)):
            raise DataError(
                f"this run was trained on {seen} images an epoch, but there are {len(train_set)} now; "
                "bring back the old ones, or start a new run with another --out"
            )
        trainee.progression.train_images = len(train_set)

    def run_to_end(self, command: Sequence[str]) -> TrainResult:
        config, at, listener, writer = self.options, self.trainee.progression, self.listener, self.writer
        by_leader = self.processes.broadcast
        chosen = self.device, self.precision, self.compilation
        by_leader(lambda: writer.open(self.checkpoint, describe_environment(*chosen, at.images_seen, command)))
        with self.processes.together():
            metrics = MetricsLog(self.run, at.epoch)
        self.processes.broadcast_tensors([*self.trainee.model.parameters(), *self.trainee.ema.model.parameters()])
        parallel = ParallelNetwork(self.trainee.model, self.processes)
        self.agreement = Agreement(self.processes, self.stop, self.budget, parallel.group)
        self.take_step = TrainingStep(self.config, self.trainee, self.feed, self.objective, parallel, self.agreement)
        self.tally = StepMetrics(
            self.run, config.max_bad_steps, at, self.device, self.agreement, self.processes, listener
        )
        listener.on_start(self._start())
        if self.compilation.wanted:
            self.take_step.compile(listener.on_warning)
        grid = None
        try:
            while not self._finished():
                # The steps of one epoch, or what is left of it.
                batches = self._batches()
                for indices in batches:
                    self._step(indices)
                    self.agreement.check()
                if batches:
                    self.tally.land()
                    self.agreement.check()

                # What the moving average is worth now.
                validate = (at.epoch + 1) % config.eval_interval == 0 or at.epoch + 1 == config.epochs
                record, is_best = self._close_epoch(validate)
                finished = self._finished()
                # The figures before the checkpoint: resuming drops a line too many, but cannot add one.
                by_leader(writer.log, metrics, record)
                if is_best or finished or at.epoch % config.save_interval == 0:
                    by_leader(writer.save, finished)
                listener.on_epoch(record, is_best)

                # A look at what it draws.
                if finished or (config.sample_interval and at.epoch % config.sample_interval == 0):
                    grid = by_leader(writer.draw_samples, self._progress("samples")) or grid
        except Interrupted as interruption:
            self.tally.land()
            by_leader(writer.save, self._finished())
            raise Interrupted(f"stopped {self._how_to_go_on()}", interruption.signal_number) from None
        except TimeSpent:
            self.tally.land()
            by_leader(writer.save, False)
            note = f"paused after {config.max_minutes:g} minutes, {self._how_to_go_on()}"
            return TrainResult(self.run, dict(at.best), grid, at.seconds, finished=False, note=note)
        early = at.epoch < config.epochs
        note = f"stopped early: the last {at.stale_validations} validations brought no new best" if early else ""
        return TrainResult(self.run, dict(at.best), grid, at.seconds, note=note)

    def _finished(self) -> bool:
        """Whether all epochs are complete, or there was no better validation for long enough."""
        at, patience = self.trainee.progression, self.options.patience
        return at.epoch >= self.options.epochs or 0 < patience <= at.stale_validations

    def _how_to_go_on(self) -> str:
        command = f"cpixelcnn train --resume {shlex.quote(str(self.run))}"
        return f"after {self.trainee.progression.images_seen} images; go on with: {command}"

    def _batches(self) -> list[Tensor]:
        """Indices of the batches that are left of the running epoch, where the images are."""
        at, options, n = self.trainee.progression, self.options, len(self.train_set)
        order = epoch_permutation(self.train_set.labels, options.seed, at.epoch, balanced=options.balanced)
        left = order[at.images_seen - at.epoch * n :].to(self.feed.images.device)
        return [batch for batch in torch.split(left, self.options.batch_size) if len(batch)]

    def _step(self, indices: Tensor) -> None:
        """One step on one batch, with its place on the clock and its learning rate."""
        started = time.perf_counter()
        config, at, n = self.options, self.trainee.progression, len(self.train_set)
        at.lr = learning_rate(config, at.step, at.images_seen / (config.epochs * n))
        figures = self.take_step(indices, at.images_seen, at.step, at.lr)
        at.step += 1
        at.images_seen += len(indices)
        record = partial(
            StepRecord,
            step=at.step,
            epoch=at.epoch,
            images=len(indices),
            images_in_epoch=at.images_seen - at.epoch * n,
            epoch_images=n,
            images_seen=at.images_seen,
            lr=at.lr,
        )
        self.tally.add(record, figures, started)

    def _close_epoch(self, validate: bool) -> tuple[EpochRecord, bool]:
        """Validate, and make the record of the epoch that has just ended; whether it is the best so far."""
        at = self.trainee.progression
        figures: dict[str, float | int | None] = {}
        if validate:
            progress = self._progress("validation")
            figures = validation_figures(self.trainee.ema.model, self.validation_set, self.processes, progress)
        record = EpochRecord(
            epoch=at.epoch + 1,
            step=at.step,
            images_seen=at.images_seen,
            train_bpd=at.epoch_bits / at.epoch_images if at.epoch_images else None,
            lr=at.lr,
            grad_norm=at.epoch_norm / at.epoch_images if at.epoch_images else None,
            images_per_second=len(self.train_set) / at.epoch_seconds if at.epoch_seconds else None,
            bad_steps=at.bad_steps,
            seconds=at.seconds,
            **figures,  # type: ignore[arg-type]
        )
        is_best = is_better(record, at.best)
        if is_best:
            at.best = {key: float(value) for key, value in figures.items() if value is not None}
            at.best_step = at.step
        at.stale_validations = 0 if is_best else at.stale_validations + validate
        at.epoch += 1
        at.epoch_bits, at.epoch_norm, at.epoch_images, at.epoch_seconds = 0.0, 0.0, 0, 0.0
        return record, is_best

    def _progress(self, activity: str) -> Progress:
        """Reports of work beside the steps, which also end it when a stop was asked for."""
        report = self.listener.activity(activity)

        def progress(done: int, total: int) -> None:
            report(done, total)
            self.stop.check()

        return progress

    def _start(self) -> TrainingStart:
        at = self.trainee.progression
        return TrainingStart(
            run=self.run,
            config=self.config,
            nr_parameters=self.trainee.model.nr_parameters(),
            train_images=len(self.train_set),
            validation_images=len(self.validation_set),
            epochs=self.options.epochs,
            epochs_done=at.epoch,
            steps_done=at.step,
            images_seen=at.images_seen,
            precision=self.precision.name,
            precision_reason=self.precision.reason,
            compiled=self.compilation.wanted,
            compiled_reason=self.compilation.reason,
            processes=self.processes.world_size,
        )
