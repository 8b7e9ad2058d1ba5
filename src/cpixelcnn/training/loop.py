"""The training loop: maximise log p(x | c) with Adam, keep the moving average, validate with it, and never lose work.

The clock of a training is the number of *images seen*. The permutation of an epoch, the augmentation and the dropout
of a step are functions of (seed, clock), so that a resumed training needs no stored random state and repeats an
uninterrupted one bit for bit on a CPU.

Of several processes each runs this loop and computes its part of every batch (`parallel`); process 0 writes.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.splits import balanced_subset
from cpixelcnn.device import choose_precision
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import Interrupted, plural
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress
from cpixelcnn.runs.environment import describe_environment
from cpixelcnn.runs.metrics_log import DAMAGED, METRICS, EpochRecord, MetricsLog
from cpixelcnn.training.alignment import frozen_copy, make_objective, read_reference
from cpixelcnn.training.batches import BatchSource, epoch_permutation
from cpixelcnn.training.callbacks import Callback, StepPosition, TrainingStart
from cpixelcnn.training.compilation import choose_compilation
from cpixelcnn.training.parallel import Agreement, ParallelNetwork
from cpixelcnn.training.restoring import restore
from cpixelcnn.training.run_writer import RunWriter
from cpixelcnn.training.schedule import learning_rate
from cpixelcnn.training.state import TrainState, create_state
from cpixelcnn.training.step import TrainingStep
from cpixelcnn.training.step_metrics import StepMetrics
from cpixelcnn.training.stopping import StopRequest, TimeBudget, TimeSpent
from cpixelcnn.training.threads import Threads
from cpixelcnn.training.validation import is_better, validation_metrics


@dataclass(frozen=True)
class TrainResult:
    """A training that has ended.

    Attributes:
        run: its directory.
        best: the validation metrics of the best epoch.
        best_epoch: its number, from 1; 0 where no epoch was validated.
        sample_grid: the last one, or None.
        seconds: spent in steps.
        finished: whether it is complete; if not, it ran out of time (`max_minutes`) and can be resumed.
        note: one sentence on why it ended before the last epoch; empty if it did not.
    """

    run: Path
    best: dict[str, float]
    sample_grid: Path | None
    seconds: float
    finished: bool = True
    note: str = ""
    best_epoch: int = 0


@dataclass(frozen=True)
class Call:
    """What a training is given beside its configuration and images.

    Attributes:
        run: the run directory, which process 0 holds.
        device: where to compute.
        checkpoint: what to resume from, or None.
        weights: without a checkpoint, what to start from; None initialises the model from the training images.
        callback: is called after steps and epochs and with warnings.
        stop: a request to stop, looked at after every step.
        command: the command line that this came from, or nothing.
        processes: those that train together.
    """

    run: Path
    device: torch.device
    checkpoint: Path | None = None
    weights: Mapping[str, Tensor] | None = None
    callback: Callback = field(default_factory=Callback)
    stop: StopRequest = field(default_factory=StopRequest)
    command: tuple[str, ...] = ()
    processes: Processes = ALONE


class Training:
    """One call of `train`: everything that it is made of, built here, and the loop."""

    def __init__(self, config: RunConfig, train_set: ImageSet, validation_set: ImageSet, call: Call) -> None:
        self.config, self.options, self.call = config, config.train, call
        self.run, self.callback, processes = call.run, call.callback, call.processes
        self.train_set = train_set
        subset = self.options.eval_images
        if 0 < subset < len(validation_set):
            validation_set = validation_set.select(balanced_subset(validation_set.labels, subset))
        self.validation_set = validation_set
        self.precision = choose_precision(self.options.precision, call.device)
        self.compilation = choose_compilation(self.options.compile, call.device)
        with processes.together():
            self.state = self._first_state()
        self.progress = self.state.progress
        self.budget = TimeBudget(self.options.max_minutes)
        parallel = ParallelNetwork(self.state.model, processes)
        self.agreement = Agreement(processes, call.stop, self.budget, parallel.group)
        self.source = BatchSource(train_set, self.options, call.device, config.model.nr_orientations)
        with processes.together():
            reference = self._reference()
        objective = make_objective(config, self.precision.name, call.device, reference)
        self.take_step = TrainingStep(config, self.state, self.source, objective, parallel, self.agreement)
        self.threads = Threads(
            self.options.threads, self.progress.threads, adaptive=call.device.type == "cpu" and processes.alone
        )
        images_left = self.options.epochs * len(train_set) - self.progress.images_seen
        steps_left = images_left // self.options.batch_size
        self.threads_choice = self.threads.choose(self.take_step.trial, steps_left)
        self.progress.threads = self.threads_choice.count
        self.writer = RunWriter(self.run, config, self.state, self.callback)
        environment = (call.device, self.precision, self.compilation, self.progress.images_seen, call.command)
        processes.broadcast(lambda: self.writer.open(call.checkpoint, describe_environment(*environment), reference))
        with processes.together():
            self.log = MetricsLog(self.run, self.progress.epoch)
        processes.broadcast_tensors([*self.state.model.parameters(), *self.state.ema.model.parameters()])
        self.metrics = StepMetrics(
            self.run,
            self.options.clip_grad_norm,
            self.options.max_bad_steps,
            self.progress,
            call.device,
            self.agreement,
            processes,
            self.callback,
        )

    def _first_state(self) -> TrainState:
        """The state of the checkpoint, or a fresh one."""
        call = self.call
        if call.checkpoint is None:
            state = create_state(self.config, self.train_set, call.device, call.weights)
        else:
            state = create_state(self.config, None, call.device)
            restore(call.checkpoint, state)
        state.progress.set_images(self.train_set)
        return state

    def _reference(self) -> PixelCNN | None:
        """What an alignment compares with: the model of its first step."""
        if not self.options.alignment_scale:
            return None
        return (
            frozen_copy(self.state.model)
            if self.call.checkpoint is None
            else read_reference(self.run, self.call.device)
        )

    def run_to_end(self) -> TrainResult:
        """The loop."""
        progress, callback, writer = self.progress, self.callback, self.writer
        on_main = self.call.processes.broadcast
        callback.on_start(self._start())
        if self.log.damaged:
            lines = plural(self.log.damaged, "line")
            callback.on_warning(f"{lines} of {METRICS} cannot be read; the file will be kept as {DAMAGED}")
        if self.compilation.wanted:
            self.take_step.compile(callback.on_warning)
        grid = None
        try:
            while not self._finished():
                # The steps of one epoch, or those that are left of it.
                batches = self._batches()
                for indices in batches:
                    self._step(indices)
                    self.agreement.check()
                if batches:
                    self.metrics.flush()
                    self.agreement.check()

                # Validate the moving average.
                validate = (progress.epoch + 1) % self.options.eval_interval == 0 or self._in_last_epoch()
                best_before = progress.best, progress.best_step
                record, is_best = self._close_epoch(validate)
                finished = self._finished()
                # The metrics before the checkpoint: resuming can drop a line, but cannot add one.
                on_main(writer.log, self.log, record)
                if is_best or finished or progress.epoch % self.options.save_interval == 0:
                    saved = on_main(writer.save, finished)
                    if is_best and not saved:  # a later epoch must beat what there is on the disk
                        progress.best, progress.best_step = best_before
                callback.on_epoch(record, is_best)

                # Sample from it.
                interval = self.options.sample_interval
                if finished or (interval and progress.epoch % interval == 0):
                    grid = on_main(writer.save_samples, self._progress("samples")) or grid
        except Interrupted as interruption:
            self.metrics.flush()
            on_main(writer.save, self._finished())
            raise Interrupted(f"stopped {self._how_to_resume()}", interruption.signal_number) from None
        except TimeSpent:
            self.metrics.flush()
            on_main(writer.save, False)
            return self._result(
                grid,
                f"paused after {plural(self.options.max_minutes, 'minute')}, {self._how_to_resume()}",
            )
        early = progress.epoch < self.options.epochs
        stale = plural(progress.stale_validations, "validation")
        return self._result(grid, f"stopped early: the last {stale} brought no new best" if early else "")

    def _in_last_epoch(self) -> bool:
        return self.progress.epoch + 1 == self.options.epochs

    def _finished(self) -> bool:
        """Whether all epochs are complete, or `patience` validations brought no new best."""
        progress, patience = self.progress, self.options.patience
        return progress.epoch >= self.options.epochs or 0 < patience <= progress.stale_validations

    def _result(self, grid: Path | None, note: str) -> TrainResult:
        progress = self.progress
        return TrainResult(
            run=self.run,
            best=dict(progress.best),
            sample_grid=grid,
            seconds=progress.seconds,
            finished=self._finished(),
            note=note,
            best_epoch=next((record.epoch for record in self.log.records if record.step == progress.best_step), 0),
        )

    def _how_to_resume(self) -> str:
        command = f"cpixelcnn train --resume {shlex.quote(str(self.run))}"
        return f"after {plural(self.progress.images_seen, 'image')}; resume with: {command}"

    def _batches(self) -> list[Tensor]:
        """Indices of the batches that are left of the running epoch, on the device of the images."""
        progress, options, n = self.progress, self.options, len(self.train_set)
        permutation = epoch_permutation(self.train_set.labels, options.seed, progress.epoch, balanced=options.balanced)
        left = permutation[progress.images_seen - progress.epoch * n :].to(self.source.images.device)
        return [batch for batch in torch.split(left, options.batch_size) if len(batch)]

    def _step(self, indices: Tensor) -> None:
        """One step on one batch, with its place on the clock and its learning rate."""
        started = time.perf_counter()
        progress, n = self.progress, len(self.train_set)
        progress.lr = learning_rate(self.options, progress.step, progress.images_seen / (self.options.epochs * n))
        metrics = self.take_step(indices, progress.images_seen, progress.step, progress.lr)
        progress.step += 1
        progress.images_seen += len(indices)
        position = StepPosition(
            step=progress.step,
            epoch=progress.epoch,
            images=len(indices),
            images_in_epoch=progress.images_seen - progress.epoch * n,
            epoch_images=n,
            images_seen=progress.images_seen,
            lr=progress.lr,
        )
        self.metrics.add(position, metrics, started)
        news = self.threads.after_step(time.perf_counter() - started, len(indices), self.take_step.trial)
        if news:
            progress.threads = torch.get_num_threads()
            self.callback.on_warning(f"step {progress.step}: {news}")

    def _close_epoch(self, validate: bool) -> tuple[EpochRecord, bool]:
        """Validate, and make the record of the epoch that has just ended; whether it is the best so far."""
        progress = self.progress
        metrics: dict[str, float | int | None] = {}
        if validate:
            report = self._progress("validation")
            metrics = validation_metrics(self.state.ema.model, self.validation_set, self.call.processes, report)
        record = EpochRecord(
            epoch=progress.epoch + 1,
            step=progress.step,
            images_seen=progress.images_seen,
            train_bpd=progress.epoch_bits / progress.epoch_images if progress.epoch_images else None,
            lr=progress.lr,
            grad_norm=progress.epoch_norm / progress.epoch_images if progress.epoch_images else None,
            images_per_second=len(self.train_set) / progress.epoch_seconds if progress.epoch_seconds else None,
            clipped=progress.epoch_clipped / progress.epoch_images if progress.epoch_images else None,
            bad_steps=progress.bad_steps,
            seconds=progress.seconds,
            **metrics,  # type: ignore[arg-type]
        )
        is_best = is_better(record, progress.best)
        if is_best:
            progress.best = {key: float(value) for key, value in metrics.items() if value is not None}
            progress.best_step = progress.step
        progress.stale_validations = 0 if is_best else progress.stale_validations + validate
        progress.epoch += 1
        progress.epoch_bits, progress.epoch_norm, progress.epoch_seconds = 0.0, 0.0, 0.0
        progress.epoch_images, progress.epoch_clipped = 0, 0
        return record, is_best

    def _progress(self, activity: str) -> Progress:
        """Reports of work beside the steps, which also end it when a stop was requested."""
        report = self.callback.activity(activity)

        def progress(done: int, total: int) -> None:
            report(done, total)
            self.call.stop.check()

        return progress

    def _start(self) -> TrainingStart:
        progress = self.progress
        return TrainingStart(
            run=self.run,
            config=self.config,
            nr_parameters=self.state.model.nr_parameters(),
            train_images=len(self.train_set),
            validation_images=len(self.validation_set),
            epochs=self.options.epochs,
            epochs_done=progress.epoch,
            steps_done=progress.step,
            images_seen=progress.images_seen,
            precision=self.precision.name,
            precision_reason=self.precision.reason,
            compiled=self.compilation.wanted,
            compiled_reason=self.compilation.reason,
            processes=self.call.processes.world_size,
            threads=self.threads_choice.count,
            threads_reason=self.threads_choice.reason,
        )
