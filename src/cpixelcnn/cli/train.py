"""`cpixelcnn train`."""

from __future__ import annotations

import dataclasses
import json as json_module
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.setup import shared_work
from cpixelcnn.config import DataConfig, ModelConfig, TrainConfig
from cpixelcnn.errors import plural
from cpixelcnn.presets import DEFAULT_PRESET, PRESETS

if TYPE_CHECKING:
    import torch

    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.evaluate import Evaluation
    from cpixelcnn.training.loop import TrainResult
    from cpixelcnn.training.plan import Plan, Request
    from cpixelcnn.training.trackers import Tracker

Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        autocompletion=lambda: list(PRESETS),
        metavar="NAME",
        help="A whole configuration (they are listed below); options that are given win over it.",
        show_default=DEFAULT_PRESET,
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        "-r",
        metavar="[RUN]",
        help="Resume a run, named by its path or its name under runs/. Without a value (or with auto): --out or the "
        "newest run if it holds a checkpoint; otherwise a new run starts.",
        show_default=False,
    ),
]
TensorBoard = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        help="Record for TensorBoard as well (pip install 'cpixelcnn[tensorboard]').",
        rich_help_panel=o.OUTPUT,
    ),
]
Wandb = Annotated[
    bool,
    typer.Option(
        "--wandb",
        help="Record for Weights & Biases as well (pip install 'cpixelcnn[wandb]').",
        rich_help_panel=o.OUTPUT,
    ),
]
NoTest = Annotated[
    bool,
    typer.Option(
        "--no-test",
        help="Do not evaluate the best checkpoint on the test split at the end.",
        rich_help_panel=o.CHECKPOINTS,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Take settings from a JSON or TOML file, such as a run's config.json or the output of --dry-run. "
        "Options that are given win over it, and it wins over the preset.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print settings, numbers of images and parameters, and time; train nothing.")
]


def train(
    preset: Preset = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.Lr = None,
    seed: o.TrainSeed = None,
    out: o.Out = None,
    resume: Resume = None,
    init_from: o.InitFrom = None,
    config: Config = None,
    device: o.Device = "auto",
    dry_run: DryRun = False,
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
    horizontal_flip: o.HorizontalFlip = None,
    shift: o.Shift = None,
    balanced: o.Balanced = None,
    discriminative_weight: o.DiscriminativeWeight = None,
    discriminative_classes: o.DiscriminativeClasses = None,
    discriminative_share: o.DiscriminativeShare = None,
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
    no_test: NoTest = False,
    precision: o.Precision = None,
    compile: o.Compile = None,
    threads: o.Threads = None,
    accumulate: o.Accumulate = None,
    recompute_activations: o.RecomputeActivations = None,
    tensorboard: TensorBoard = False,
    wandb: Wandb = False,
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
        images = _read_images(plan, processes, download=download, test=not no_test)
        if dry_run:
            _print_dry_run(plan, chosen.device, images)
            return
        if plan.checkpoint is None and out is None:
            plan = dataclasses.replace(plan, run=processes.broadcast(claim_directory, plan.run))
        result = _train(plan, images, chosen.device, trackers, processes, quiet=json)
        if result.note:
            console.info(result.note)
        evaluation = _evaluate_held_out(result, images, chosen.device, processes) if result.finished else None
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


@dataclasses.dataclass(frozen=True)
class _Images:
    """The splits of a training, all read before its first step, so that bad files are found at once."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet | None


def _read_images(plan: Plan, processes: Processes, *, download: bool, test: bool) -> _Images:
    from cpixelcnn.datasets.registry import load_split
    from cpixelcnn.errors import BadImagesError, DataError

    data = plan.config.data
    with processes.together():
        if download and processes.is_main and not processes.alone:  # what is missing, before the others look for it
            load_split(data, "train", download=True)
    with processes.together(), console.activity("reading images") as progress:
        train_set, validation_set = (
            load_split(data, split, download=download, progress=progress) for split in ("train", "validation")
        )
        test_set = None
        if test:
            try:
                test_set = load_split(data, "test", download=download, progress=progress)
            except BadImagesError:
                raise
            except DataError as error:
                console.warn(f"there will be no test metrics: {error}")
    loaded = [images for images in (train_set, validation_set, test_set) if images is not None]
    for images in loaded:
        for note in images.notes:
            console.info(f"note       {note}")
    skipped = sum(images.nr_skipped for images in loaded)
    if skipped:
        console.warn(f"left out {plural(skipped, 'image')} that cannot be read")
    if validation_set.origin:
        console.info(f"split      {validation_set.origin}")
    labelled = processes.all_gather(test_set is not None and test_set.labelled)
    return _Images(train_set, validation_set, test_set if all(labelled) else None)


def _print_dry_run(plan: Plan, device: torch.device, images: _Images) -> None:
    from rich.markup import escape

    from cpixelcnn.training.estimate import estimate

    document = plan.config.to_json()
    for decided_by_images in ("classes", "class_counts", "image_channels", "image_height", "image_width"):
        if plan.checkpoint is None:
            del document["model"][decided_by_images]
    with console.activity("measuring three steps"):
        measured = estimate(plan.config, images.train, device)
    document |= {
        "run": str(plan.run),
        "resume": str(plan.checkpoint) if plan.checkpoint else None,
        "device": str(device),
        "images": {
            "train": len(images.train),
            "validation": len(images.validation),
            "test": len(images.test) if images.test else None,
        },
        "estimate": dataclasses.asdict(measured),
    }
    console.print_result(escape(json_module.dumps(document, indent=2)))


def _trackers(tensorboard: bool, wandb: bool) -> list[Tracker]:
    """What records the training elsewhere, asked for before any image is read: its package may be missing."""
    from cpixelcnn.training.trackers import TensorBoardTracker, WandbTracker

    trackers: list[Tracker] = [TensorBoardTracker()] if tensorboard else []
    trackers += [WandbTracker()] if wandb else []
    return [] if console.silent else trackers  # the first of several processes records for all


def _train(
    plan: Plan,
    images: _Images,
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


def _evaluate_held_out(
    result: TrainResult, images: _Images, device: torch.device, processes: Processes
) -> Evaluation | None:
    """The best checkpoint on the test split, which nothing was chosen by; None without labelled test images."""
    from cpixelcnn.evaluation.evaluate import evaluate
    from cpixelcnn.runs.models import load

    if images.test is None:
        return None
    with processes.together():
        model = load(result.run, device=device)
    with console.activity("test split", unit="images", count=len(images.test)) as progress:
        return evaluate(model, images.test, processes=processes, progress=progress)


def _write_json(run: Path) -> None:
    from cpixelcnn.runs.layout import read_results

    console.write_json({"run": str(run), **read_results(run)})


def _show_result(result: TrainResult, evaluation: Evaluation | None) -> None:
    from cpixelcnn.cli.tables import training_table

    console.print_result(training_table(result, evaluation))
    run = shlex.quote(str(result.run))
    console.info(f"next: cpixelcnn sample --model {run}   or   cpixelcnn eval --model {run}")
