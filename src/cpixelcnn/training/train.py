"""`cpixelcnn.train`: from settings and images to a trained model in a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from cpixelcnn.config import ModelConfig, RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.device import choose_device, freed_memory_kept
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.training.callbacks import Callback, Callbacks
from cpixelcnn.training.checkpoint import locked
from cpixelcnn.training.loop import Call, Training, TrainResult
from cpixelcnn.training.objective import check_discriminative
from cpixelcnn.training.parallel import check_processes
from cpixelcnn.training.plan import plan_call
from cpixelcnn.training.run_log import RunLog
from cpixelcnn.training.state import check_images
from cpixelcnn.training.stopping import StopRequest, stop_on_signals
from cpixelcnn.training.threads import threads_restored
from cpixelcnn.training.warm_start import initial_weights


def train(
    config: RunConfig | ModelConfig | str | None,
    train_set: ImageSet,
    validation_set: ImageSet,
    run: Path | str | None = None,
    *,
    device: torch.device | str = "auto",
    resume: Path | str | None = None,
    callbacks: Sequence[Callback] = (),
    stop: StopRequest | None = None,
    command: Sequence[str] = (),
    processes: Processes = ALONE,
) -> TrainResult:
    """Train a model, from the start or from a checkpoint, until `config.train.epochs` epochs are complete.

    It ends earlier after `config.train.patience` validations without a new best, and pauses after
    `config.train.max_minutes` of this call. Ctrl-C, SIGTERM and SIGHUP save the state and raise `Interrupted` (where
    this is called in the main thread).

    Args:
        config: all settings of the run, or its model alone (the other settings take their defaults), or the name of a
            preset. Sizes and classes are those of `train_set`. With `resume`, None keeps the checkpoint's settings.
        train_set: uint8 images (N, C, H, W); labelled unless the model is unconditional.
        validation_set: likewise; its metrics choose the best checkpoint.
        run: the run directory, created if need be; the next free number under runs/ unless given.
        device: where to compute: auto, cpu, cuda, cuda:N, mps, or a torch.device.
        resume: a run or checkpoint directory to resume; or "auto" to resume `run` where it holds a checkpoint, and
            otherwise to start.
        callbacks: are called after steps and epochs and with warnings.
        stop: a request to stop, for programs that stop a training from another thread.
        command: the command line that this call came from, for the run's `environment.json`.
        processes: those that train together; each of them makes this call, with the same settings and images.

    Returns:
        What the training came to, with its run directory, which `cpixelcnn.load` takes.

    Raises:
        ConfigError: the settings do not fit the checkpoint or the images; or the directory cannot be written to, is in
            use, or holds a run and `resume` was not given.
        DataError: images are missing, are not those of the run that is resumed, or lack labels.
        CheckpointError: the checkpoint cannot be restored, or the final one cannot be saved.
        NonFiniteError: loss or gradient were not finite for `max_bad_steps` steps in a row.
        Interrupted: a stop was requested; the state is saved.
    """
    stop = stop or StopRequest()
    with ExitStack() as contexts:
        contexts.enter_context(stop_on_signals(stop, processes))
        contexts.enter_context(threads_restored())
        with processes.together():
            torch_device = choose_device(device, processes.local_rank).device if isinstance(device, str) else device
        plan = processes.broadcast(plan_call, config, train_set, run=run, resume=resume)
        check_processes(processes, torch_device, plan.config.train.batch_size)
        if torch_device.type == "cpu":
            contexts.enter_context(freed_memory_kept())
        with processes.together():
            check_images(plan.config, train_set, validation_set)
            check_discriminative(plan.config)
            source = plan.config.train.init_from if plan.checkpoint is None else None
            weights = initial_weights(source, plan.config.model) if source else None
            if processes.is_main:
                contexts.enter_context(locked(plan.run, Callbacks(callbacks).on_warning))
        log = contexts.enter_context(RunLog(plan.run)) if processes.is_main else Callback()
        heard = Callbacks((log, *callbacks))
        call = Call(plan.run, torch_device, plan.checkpoint, weights, heard, stop, tuple(command), processes)
        result = Training(plan.config, train_set, validation_set, call).run_to_end()
        if isinstance(log, RunLog):
            log.say(result.note or f"finished: best epoch {result.best_epoch}, {result.seconds:.0f} s of steps")
        return result
