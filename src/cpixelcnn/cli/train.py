"""`cpixelcnn train`."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli import train_options as t
from cpixelcnn.cli.dry_run import print_dry_run
from cpixelcnn.cli.setup import shared_work
from cpixelcnn.cli.training_images import TrainingImages, evaluate_held_out, read_images
from cpixelcnn.config import DataConfig, ModelConfig, TrainConfig

if TYPE_CHECKING:
    import torch

    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.evaluate import Evaluation
    from cpixelcnn.training.loop import TrainResult
    from cpixelcnn.training.plan import Plan, Request
    from cpixelcnn.training.trackers import Tracker


def train(
    preset: t.Preset = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.Lr = None,
    seed: o.TrainSeed = None,
    out: o.Out = None,
    resume: t.Resume = None,
    init_from: o.InitFrom = None,
    config: t.Config = None,
    device: o.Device = "auto",
    dry_run: t.DryRun = False,
    dataset: o.Dataset = None,
    data_dir: o.DataDir = None,
    image_size: o.ImageSize = None,
    channels: o.Channels = None,
    train_size: o.TrainSize = None,
    validation_fraction: o.ValidationFraction = None,
    split_seed: o.SplitSeed = None,
    skip_bad: o.SkipBad = None,
    download: o.Download = False,
    nr_resnets: o.NrResnets = None,
    nr_filters: o.NrFilters = None,
    nr_logistic_mix: o.NrLogisticMix = None,
    early_fusion: o.EarlyFusion = None,
    film: o.Film = None,
    class_embedding_dim: o.ClassEmbeddingDim = None,
    nr_orientations: o.NrOrientations = None,
    dropout: o.Dropout = None,
    lr_decay: o.LrDecay = None,
    schedule: o.Schedule = None,
    lr_final: o.LrFinal = None,
    warmup_steps: o.WarmupSteps = None,
    beta1: o.Beta1 = None,
    beta2: o.Beta2 = None,
    clip_grad_norm: o.ClipGradNorm = None,
    weight_decay: o.WeightDecay = None,
    ema_decay: o.EmaDecay = None,
    crops: o.Crops = None,
    horizontal_flip: o.HorizontalFlip = None,
    shift: o.Shift = None,
    turned_share: o.TurnedShare = None,
    balanced: o.Balanced = None,
    discriminative_weight: o.DiscriminativeWeight = None,
    discriminative_classes: o.DiscriminativeClasses = None,
    discriminative_share: o.DiscriminativeShare = None,
    discriminative_temperature: o.DiscriminativeTemperature = None,
    alignment_scale: o.AlignmentScale = None,
    alignment_weight: o.AlignmentWeight = None,
    eval_interval: o.EvalInterval = None,
    eval_images: o.EvalImages = None,
    sample_interval: o.SampleInterval = None,
    save_interval: o.SaveInterval = None,
    keep_checkpoints: o.KeepCheckpoints = None,
    patience: o.Patience = None,
    max_minutes: o.MaxMinutes = None,
    max_bad_steps: o.MaxBadSteps = None,
    no_test: t.NoTest = False,
    precision: o.Precision = None,
    compile: o.Compile = None,
    threads: o.Threads = None,
    accumulate: o.Accumulate = None,
    recompute_activations: o.RecomputeActivations = None,
    tensorboard: t.TensorBoard = False,
    wandb: t.Wandb = False,
    json: o.Json = False,
    quiet: o.QuietTraining = False,
    verbose: o.Verbose = False,
) -> None:
    """Train a model, by default a small one on the embedded images; Ctrl-C saves and --resume goes on.

    Under torchrun the processes train together, each with its share of every batch.
    """
    flags = dict(locals())
    from cpixelcnn.device import choose_device
    from cpixelcnn.training.parallel import TIMEOUT
    from cpixelcnn.training.plan import claim_directory, make_plan

    with shared_work(TIMEOUT) as processes:
        with processes.together():
            chosen = choose_device(device, processes.local_rank)
        plan = processes.broadcast(make_plan, _request(flags, preset, config), out=out, resume=resume)
        for warning in plan.warnings:
            console.warn(warning)
        if not dry_run:
            console.info(f"device     {chosen.device} ({chosen.reason})")
        if plan.finished and not dry_run:
            console.info(f"{plan.run} {console.with_flags(plan.finish)}")
            if json:
                _write_json(plan.run)
            return
        with processes.together():
            trackers = _trackers(tensorboard, wandb)
        images = read_images(plan, processes, download=download, test=not no_test)
        if dry_run:
            print_dry_run(plan, chosen.device, images)
            return
        if plan.checkpoint is None and out is None:
            plan = dataclasses.replace(plan, run=processes.broadcast(claim_directory, plan.run))
        result = _train(plan, images, chosen.device, trackers, processes, quiet=json)
        if result.note:
            console.info(result.note)
        evaluation = evaluate_held_out(result, images, chosen.device, processes) if result.finished else None
        if processes.is_main:
            from cpixelcnn.training.results import write_results

            try:
                write_results(result, evaluation)
            except OSError as error:  # they are shown all the same
                console.warn(f"{error.filename or result.run} could not be written ({error.strerror})")
        if json:
            _write_json(result.run)
        elif result.finished:
            _show_result(result, evaluation)


def _request(flags: dict[str, Any], preset: str | None, config: Path | None) -> Request:
    """The fields that were given on the command line or in a file, sorted into their configurations."""
    from cpixelcnn.training.plan import Request, read_request

    def given(kind: type) -> dict[str, Any]:
        names = [f.name for f in dataclasses.fields(kind)]
        return {name: flags[name] for name in names if flags.get(name) is not None}

    request = Request(given(ModelConfig), given(DataConfig), given(TrainConfig))
    if config is not None:
        request = request.on_top_of(read_request(config))
    return request.with_preset(preset) if preset else request


def _trackers(tensorboard: bool, wandb: bool) -> list[Tracker]:
    """What records the training elsewhere, asked for before any image is read: its package may be missing."""
    from cpixelcnn.training.trackers import TensorBoardTracker, WandbTracker

    trackers: list[Tracker] = [TensorBoardTracker()] if tensorboard else []
    trackers += [WandbTracker()] if wandb else []
    return [] if console.silent else trackers  # the first of several processes records for all


def _train(
    plan: Plan,
    images: TrainingImages,
    device: torch.device,
    trackers: list[Tracker],
    processes: Processes,
    *,
    quiet: bool,
) -> TrainResult:
    from cpixelcnn.cli.display.training import TrainingDisplay
    from cpixelcnn.training.train import train as run_training

    afterwards = [] if images.test is None else ["test"]
    with ExitStack() as contexts:
        for tracker in trackers:  # before the display: what they say on closing is not to be written across it
            contexts.enter_context(tracker)
        display = contexts.enter_context(TrainingDisplay(epochs_to_stderr=quiet, afterwards=afterwards))
        for tracker in trackers:
            tracker.warn = display.on_warning
        return run_training(
            plan.config,
            images.train,
            images.validation,
            plan.run,
            device=device,
            resume=plan.run if plan.checkpoint else None,
            callbacks=[*trackers, display],
            command=sys.argv,
            processes=processes,
        )


def _write_json(run: Path) -> None:
    from cpixelcnn.runs.layout import read_results

    console.write_json({"run": str(run), **read_results(run)})


def _show_result(result: TrainResult, evaluation: Evaluation | None) -> None:
    from cpixelcnn.cli.tables import training_table

    console.print_result(training_table(result, evaluation))
    run = shlex.quote(str(result.run))
    console.info(f"next: cpixelcnn sample --model {run}   or   cpixelcnn eval --model {run}")
