"""The training loop: maximise log p(x | c) with Adam, keep the moving average, validate with it, and never lose work.

The clock of a training is the number of *images seen*. The order of an epoch, the augmentation and the dropout of a
step are functions of (seed, clock), so that a resumed training needs no stored random state and repeats an
uninterrupted one bit for bit on a CPU.
"""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.config import RunConfig, TrainConfig
from cpixelcnn.data.image_set import ImageSet, balanced_subset
from cpixelcnn.device import choose_precision, network_precision
from cpixelcnn.errors import CheckpointError, ConfigError, DataError, Interrupted, NonFiniteError
from cpixelcnn.model.likelihood import DiscretizedLogisticMixture, to_unit_interval
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress
from cpixelcnn.runs import checkpoint_paths
from cpixelcnn.seeds import derive_seed
from cpixelcnn.storage import write_json
from cpixelcnn.training.checkpoint import Progression, Trainee, locked, point_links, restore, save_checkpoint
from cpixelcnn.training.ema import ExponentialMovingAverage
from cpixelcnn.training.listener import StepRecord, TrainingListener, TrainingStart
from cpixelcnn.training.metrics_log import EpochRecord, MetricsLog
from cpixelcnn.training.signals import StopRequest
from cpixelcnn.training.validation import draw_samples, is_better, validation_figures

INITIALISING_IMAGES = 64


@dataclass(frozen=True)
class TrainResult:
    """A finished training: its run directory, the figures of the best epoch, the last sample grid, seconds spent."""

    run: Path
    best: dict[str, float]
    sample_grid: Path | None
    seconds: float


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
) -> TrainResult:
    """Train a model, from the start or from a checkpoint, until `config.train.epochs` epochs are complete.

    Args:
        config: everything about the run; its model must suit the images.
        train_set, validation_set: labelled images (an unconditional model does without labels).
        run: the run directory, created if need be.
        device: where to compute.
        checkpoint: continue from this checkpoint of the same run directory.
        listener: hears of steps, epochs and warnings.
        stop: a request to stop, looked at after every step; the state is saved before `Interrupted` is raised.

    Raises:
        ConfigError: the directory cannot be written to, is in use, or holds a run and no checkpoint was given.
        DataError: images and model do not fit, or labels are missing.
        CheckpointError: the checkpoint cannot be restored, or the final one not be saved.
        NonFiniteError: loss or gradient were not finite for `max_bad_steps` steps in a row.
        Interrupted: a stop was requested.
    """
    listener, stop = listener or TrainingListener(), stop or StopRequest()
    _check_data(config, train_set, validation_set)
    with locked(run):
        if checkpoint is None and checkpoint_paths(run):
            raise ConfigError(f"{run} already holds a run; go on with --resume {run}, or choose another --out")
        trainee = _prepare(config, train_set, device, checkpoint)
        training = _Training(config, train_set, validation_set, run, device, checkpoint, trainee, listener, stop)
        return training.run_to_end()


class _Training:
    """One call of `train`: the loop and the few things that it shares with validation and saving."""

    def __init__(
        self,
        config: RunConfig,
        train_set: ImageSet,
        validation_set: ImageSet,
        run: Path,
        device: torch.device,
        checkpoint: Path | None,
        trainee: Trainee,
        listener: TrainingListener,
        stop: StopRequest,
    ) -> None:
        self.config, self.options, self.run, self.device = config, config.train, run, device
        self.train_set, self.checkpoint, self.trainee = train_set, checkpoint, trainee
        self.listener, self.stop = listener, stop
        subset = config.train.eval_images
        if 0 < subset < len(validation_set):
            validation_set = validation_set.select(balanced_subset(validation_set.labels, subset))
        self.validation_set = validation_set
        self.precision = choose_precision(config.train.precision, device)
        self.bad_in_a_row = 0
        seen = trainee.progression.train_images
        if seen not in (0, len(train_set)):
            raise DataError(
                f"this run was trained on {seen} images an epoch, but there are {len(train_set)} now; "
                "bring back the old ones, or start a new run with another --out"
            )
        trainee.progression.train_images = len(train_set)

    def run_to_end(self) -> TrainResult:
        config, at, listener = self.options, self.trainee.progression, self.listener
        if self.checkpoint is not None:
            point_links(self.run, at, self.checkpoint)
        try:
            write_json(self.run / "config.json", self.config.to_json())
        except OSError as error:
            raise ConfigError(
                f"{self.run} cannot be written to ({error.strerror}); make room, or choose another directory with --out"
            ) from None
        metrics = MetricsLog(self.run, at.epoch)
        listener.on_start(self._start())
        grid = None
        try:
            while at.epoch < config.epochs:
                # The steps of one epoch, or what is left of it.
                for indices in self._batches():
                    self._step(indices)
                    self.stop.check()

                # What the moving average is worth now.
                validate = (at.epoch + 1) % config.eval_interval == 0 or at.epoch + 1 == config.epochs
                record, is_best = self._close_epoch(validate)
                finished = at.epoch == config.epochs
                self._log(metrics, record)  # before the checkpoint: resuming drops a line too many, but cannot add one
                if is_best or finished or at.epoch % config.save_interval == 0:
                    self._save(finished)
                listener.on_epoch(record, is_best)

                # A look at what it draws.
                if finished or (config.sample_interval and at.epoch % config.sample_interval == 0):
                    grid = self._draw_samples() or grid
        except Interrupted as interruption:
            self._save(finished=at.epoch >= config.epochs)
            command = f"cpixelcnn train --resume {shlex.quote(str(self.run))}"
            message = f"stopped after {at.images_seen} images; go on with: {command}"
            raise Interrupted(message, interruption.signal_number) from None
        return TrainResult(self.run, dict(at.best), grid, at.seconds)

    def _batches(self) -> list[Tensor]:
        """Indices of the batches that are left of the running epoch."""
        at, n = self.trainee.progression, len(self.train_set)
        generator = torch.Generator().manual_seed(derive_seed(self.options.seed, "order", at.epoch))
        order = torch.randperm(n, generator=generator)
        left = order[at.images_seen - at.epoch * n :]
        return [batch for batch in torch.split(left, self.options.batch_size) if len(batch)]

    def _step(self, indices: Tensor) -> None:
        """One step of Adam on one batch. A step whose loss or gradient is not finite changes no weight."""
        config, trainee, at = self.options, self.trainee, self.trainee.progression
        started = time.perf_counter()
        lr = learning_rate(config, at.step)
        for group in trainee.optimiser.param_groups:
            group["lr"] = lr
        torch.manual_seed(derive_seed(config.seed, "dropout", at.images_seen))
        images, labels = self._augmented_batch(indices)

        trainee.model.train()
        trainee.optimiser.zero_grad()
        with network_precision(self.precision.name, self.device):
            parameters = trainee.model(to_unit_interval(images), labels)
        log_prob = DiscretizedLogisticMixture(parameters, self.config.model.image_channels).log_prob(images)
        bits_per_dim = -log_prob.sum() / (len(images) * self.config.model.nr_dimensions * math.log(2))
        bits_per_dim.backward()  # type: ignore[no-untyped-call]
        longest = config.clip_grad_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(trainee.model.parameters(), longest))
        loss = float(bits_per_dim.detach())

        at.step += 1
        at.images_seen += len(images)
        if math.isfinite(loss) and math.isfinite(norm):
            trainee.optimiser.step()
            trainee.ema.update(trainee.model, at.step)
            at.epoch_bits += loss * len(images)
            at.epoch_norm += norm * len(images)
            at.epoch_images += len(images)
            self.bad_in_a_row = 0
        else:
            self._skip_bad_step()
        elapsed = time.perf_counter() - started
        at.seconds += elapsed
        at.epoch_seconds += elapsed
        n = len(self.train_set)
        in_epoch = at.images_seen - at.epoch * n
        self.listener.on_step(StepRecord(at.step, at.epoch, in_epoch, n, at.images_seen, loss, norm, lr))

    def _skip_bad_step(self) -> None:
        at = self.trainee.progression
        at.bad_steps += 1
        self.bad_in_a_row += 1
        self.listener.on_warning(f"step {at.step}: loss or gradient is not finite; the step was skipped")
        if self.bad_in_a_row >= self.options.max_bad_steps:
            raise NonFiniteError(
                f"loss or gradient were not finite for {self.bad_in_a_row} steps in a row; the last checkpoint in "
                f"{self.run} is sound: go on from it with a smaller --lr"
            )

    def _augmented_batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = self.train_set.images[indices], self.train_set.labels[indices]
        if self.options.horizontal_flip:
            seed = derive_seed(self.options.seed, "flip", self.trainee.progression.images_seen)
            mirrored = torch.rand(len(images), generator=torch.Generator().manual_seed(seed)) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images.to(self.device), labels.to(self.device)

    def _close_epoch(self, validate: bool) -> tuple[EpochRecord, bool]:
        """Validate, and make the record of the epoch that has just ended; whether it is the best so far."""
        at = self.trainee.progression
        figures: dict[str, float | int | None] = {}
        if validate:
            progress = self._progress("validation")
            figures = validation_figures(self.trainee.ema.model, self.validation_set, progress)
        record = EpochRecord(
            epoch=at.epoch + 1,
            step=at.step,
            images_seen=at.images_seen,
            train_bpd=at.epoch_bits / at.epoch_images if at.epoch_images else None,
            lr=learning_rate(self.options, max(at.step - 1, 0)),
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
        at.epoch += 1
        at.epoch_bits, at.epoch_norm, at.epoch_images, at.epoch_seconds = 0.0, 0.0, 0, 0.0
        return record, is_best

    def _log(self, metrics: MetricsLog, record: EpochRecord) -> None:
        try:
            metrics.append(record)
        except OSError as error:
            self.listener.on_warning(f"the figures of epoch {record.epoch} could not be written ({error.strerror})")

    def _save(self, finished: bool) -> None:
        """Save a checkpoint. A full disk is survived, except at the very end, where the work would be lost unsaid."""
        try:
            save_checkpoint(self.run, self.config, self.trainee, finished=finished)
        except OSError as error:
            kept = checkpoint_paths(self.run)
            message = f"the checkpoint at step {self.trainee.progression.step} could not be saved ({error.strerror})"
            if finished:
                raise CheckpointError(f"{message}; make room and run again with --resume {self.run}") from None
            older = f"{kept[-1].name} is still good" if kept else "there is none yet"
            self.listener.on_warning(f"{message}; training goes on, {older}")

    def _draw_samples(self) -> Path | None:
        epoch = self.trainee.progression.epoch
        try:
            path = draw_samples(self.run, self.trainee.ema.model, epoch, self.options.seed, self._progress("samples"))
        except OSError as error:
            self.listener.on_warning(f"the samples of epoch {epoch} could not be written ({error.strerror})")
            return None
        self.listener.on_samples(path)
        return path

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
            nr_parameters=self.trainee.model.nr_parameters(),
            train_images=len(self.train_set),
            validation_images=len(self.validation_set),
            epochs=self.options.epochs,
            epochs_done=at.epoch,
            images_seen=at.images_seen,
            precision=self.precision.name,
            precision_reason=self.precision.reason,
        )


def learning_rate(config: TrainConfig, step: int) -> float:
    """lr * decay^step: the original decays at every step, not at every epoch."""
    return config.lr * config.lr_decay**step


def _prepare(config: RunConfig, train_set: ImageSet, device: torch.device, checkpoint: Path | None) -> Trainee:
    """A model with its average and optimiser: initialised from real images, or restored."""
    options = config.train
    torch.manual_seed(derive_seed(options.seed, "weights"))
    model = PixelCNN(config.model).to(device).to(memory_format=torch.channels_last)
    if checkpoint is None:
        few = balanced_subset(train_set.labels, INITIALISING_IMAGES)
        model.initialise(train_set.images[few].to(device), train_set.labels[few].to(device))
    ema = ExponentialMovingAverage(model, options.ema_decay)
    optimiser = torch.optim.Adam(model.parameters(), lr=options.lr, betas=(options.beta1, options.beta2))
    trainee = Trainee(model, ema, optimiser, Progression())
    if checkpoint is not None:
        restore(checkpoint, trainee)
        for group in optimiser.param_groups:
            group["betas"] = (options.beta1, options.beta2)  # may change when a run goes on
    return trainee


def _check_data(config: RunConfig, train_set: ImageSet, validation_set: ImageSet) -> None:
    for image_set, purpose in ((train_set, "training a conditional model"), (validation_set, "validating it")):
        if len(image_set) == 0:
            raise DataError(f"{image_set.name} ({image_set.split}) has no images; check --data-dir")
        if config.model.conditional:
            image_set.require_labels(purpose)
            if image_set.classes != config.model.classes:
                raise ConfigError(
                    f"the model has the classes {', '.join(config.model.classes)}, but {image_set.name} "
                    f"({image_set.split}) has {', '.join(image_set.classes)}; choose the data set it was made for"
                )
