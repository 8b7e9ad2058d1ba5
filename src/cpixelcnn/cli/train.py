"""`cpixelcnn train`."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.setup import shared_work
from cpixelcnn.config import DataConfig, ModelConfig, TrainConfig
from cpixelcnn.presets import PRESETS

if TYPE_CHECKING:
    import torch

    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.evaluate import Evaluation
    from cpixelcnn.training.loop import TrainResult
    from cpixelcnn.training.plan import Plan, Request
    from cpixelcnn.training.trackers import Tracker

Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", help=f"A whole configuration: {', '.join(PRESETS)} (tiny unless given).", show_default=False
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        "-r",
        help="auto: go on in --out, or in the newest run, where there is a checkpoint; or the path of a run.",
        show_default=False,
    ),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Record for TensorBoard as well (pip install 'cpixelcnn[tensorboard]').")
]
Wandb = Annotated[
    bool, typer.Option("--wandb", help="Record for Weights & Biases as well (pip install 'cpixelcnn[wandb]').")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")]


def train(
    preset: Preset = None,
    nr_resnets: o.NrResnets = None,
    nr_filters: o.NrFilters = None,
    nr_logistic_mix: o.NrLogisticMix = None,
    early_fusion: o.EarlyFusion = None,
    film: o.Film = None,
    class_embedding_dim: o.ClassEmbeddingDim = None,
    dropout: o.Dropout = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.Lr = None,
    lr_decay: o.LrDecay = None,
    schedule: o.Schedule = None,
    lr_final: o.LrFinal = None,
    warmup_steps: o.WarmupSteps = None,
    beta1: o.Beta1 = None,
    beta2: o.Beta2 = None,
    clip_grad_norm: o.ClipGradNorm = None,
    weight_decay: o.WeightDecay = None,
    accumulate: o.Accumulate = None,
    recompute_activations: o.RecomputeActivations = None,
    ema_decay: o.EmaDecay = None,
    horizontal_flip: o.HorizontalFlip = None,
    shift: o.Shift = None,
    balanced: o.Balanced = None,
    discriminative_weight: o.DiscriminativeWeight = None,
    discriminative_classes: o.DiscriminativeClasses = None,
    discriminative_share: o.DiscriminativeShare = None,
    precision: o.Precision = None,
    compile: o.Compile = None,
    seed: o.TrainSeed = None,
    eval_interval: o.EvalInterval = None,
    eval_images: o.EvalImages = None,
    sample_interval: o.SampleInterval = None,
    save_interval: o.SaveInterval = None,
    max_bad_steps: o.MaxBadSteps = None,
    patience: o.Patience = None,
    max_minutes: o.MaxMinutes = None,
    init_from: o.InitFrom = None,
    dataset: o.Dataset = None,
    data_dir: o.DataDir = None,
    image_size: o.ImageSize = None,
    train_size: o.TrainSize = None,
    validation_fraction: o.ValidationFraction = None,
    split_seed: o.SplitSeed = None,
    skip_bad: o.SkipBad = None,
    download: o.Download = False,
    out: o.Out = None,
    resume: Resume = None,
    tensorboard: TensorBoard = False,
    wandb: Wandb = False,
    dry_run: DryRun = False,
    device: o.Device = "auto",
) -> None:
    """Train a model, by default a small one on the embedded images; Ctrl-C saves and --resume goes on.

    Under torchrun the processes train together, each with its share of every batch.
    """
    flags = dict(locals())
    from cpixelcnn.device import choose_device
    from cpixelcnn.training.parallel import TIMEOUT
    from cpixelcnn.training.plan import make_plan

    with shared_work(TIMEOUT) as processes:
        with processes.together():
            chosen = choose_device(device, processes.local_rank)
        plan = processes.broadcast(make_plan, _request(flags, preset), out=out, resume=resume)
        for warning in plan.warnings:
            console.warn(warning)
        if dry_run:
            _print_dry_run(plan, chosen.device)
            return
        console.info(f"device     {chosen.device} ({chosen.reason})")
        if plan.finished:
            console.info(f"{plan.run} {plan.finish}")
            return
        with processes.together():
            trackers = _trackers(tensorboard, wandb)
        result = _train(plan, chosen.device, download, trackers, processes)
        if result.note:
            console.info(result.note)
        if not result.finished:
            return
        _show_result(plan, result, *_evaluate_held_out(plan, result, chosen.device, download, processes))


def _request(flags: dict[str, Any], preset: str | None) -> Request:
    """The fields that were given on the command line, sorted into their configurations."""
    from cpixelcnn.training.plan import Request

    def given(config: type) -> dict[str, Any]:
        names = [f.name for f in dataclasses.fields(config)]
        return {name: flags[name] for name in names if flags.get(name) is not None}

    request = Request(given(ModelConfig), given(DataConfig), given(TrainConfig))
    return request.with_preset(preset) if preset else request


def _print_dry_run(plan: Plan, device: torch.device) -> None:
    from rich.markup import escape

    document = plan.config.to_json()
    for decided_by_images in ("classes", "class_counts", "image_channels", "image_height", "image_width"):
        if plan.checkpoint is None:
            del document["model"][decided_by_images]
    document |= {
        "run": str(plan.run),
        "resume": str(plan.checkpoint) if plan.checkpoint else None,
        "device": str(device),
    }
    console.print_result(escape(json.dumps(document, indent=2)))


def _trackers(tensorboard: bool, wandb: bool) -> list[Tracker]:
    """What records the training elsewhere, asked for before any image is read: its package may be missing."""
    from cpixelcnn.training.trackers import TensorBoardTracker, WandbTracker

    trackers: list[Tracker] = [TensorBoardTracker()] if tensorboard else []
    trackers += [WandbTracker()] if wandb else []
    return [] if console.silent else trackers  # the first of several processes records for all


def _train(
    plan: Plan, device: torch.device, download: bool, trackers: list[Tracker], processes: Processes
) -> TrainResult:
    from cpixelcnn.cli.display.training import TrainingDisplay
    from cpixelcnn.datasets.registry import load_split
    from cpixelcnn.training.train import train as run_training

    with processes.together():
        if download and processes.is_main and not processes.alone:  # what is missing, before the others look for it
            load_split(plan.config.data, "train", download=True)
    with processes.together(), console.activity("reading images") as progress:
        train_set, validation_set = (
            load_split(plan.config.data, split, download=download, progress=progress)
            for split in ("train", "validation")
        )
    skipped = train_set.nr_skipped + validation_set.nr_skipped
    if skipped:
        console.warn(f"{skipped} images that cannot be read were left out")
    if validation_set.origin:
        console.info(f"split      {validation_set.origin}")
    with ExitStack() as contexts:
        for tracker in trackers:  # before the display: what they say on closing is not to be written across it
            contexts.enter_context(tracker)
        display = contexts.enter_context(TrainingDisplay())
        for tracker in trackers:
            tracker.warn = display.on_warning
        return run_training(
            plan.config,
            train_set,
            validation_set,
            plan.run,
            device=device,
            resume=plan.run if plan.checkpoint else None,
            callbacks=[*trackers, display],
            command=sys.argv,
            processes=processes,
        )


def _evaluate_held_out(
    plan: Plan, result: TrainResult, device: torch.device, download: bool, processes: Processes
) -> tuple[str, Evaluation | None]:
    """The best checkpoint on the test split, which nothing was chosen by; None where that split has no labels."""
    from cpixelcnn.datasets.registry import load_split
    from cpixelcnn.errors import DataError
    from cpixelcnn.evaluation.evaluate import evaluate
    from cpixelcnn.runs.load import load

    test_set = None
    try:
        test_set = load_split(plan.config.data, "test", download=download)
    except DataError as error:
        console.warn(f"no test figures: {error}")
    if not all(processes.all_gather(test_set is not None and test_set.labelled)) or test_set is None:
        return "", None
    with processes.together():
        model = load(result.run, device=device)
    with console.activity("test split") as progress:
        evaluation = evaluate(model, test_set, processes=processes, progress=progress)
    return f"test ({len(test_set)} images)", evaluation


def _show_result(plan: Plan, result: TrainResult, held_out: str, evaluation: Evaluation | None) -> None:
    from cpixelcnn.cli.tables import training_table

    console.print_result(training_table(result, held_out, evaluation))
    run = shlex.quote(str(plan.run))
    console.info(f"next: cpixelcnn sample --model {run}   or   cpixelcnn eval --model {run}")
