"""The options of the command line, each defined once, so that it means the same wherever it appears.

Options that set a field of a configuration take their help from that field's documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cpixelcnn.cli import console
from cpixelcnn.config import DataConfig, ModelConfig, TrainConfig, field_help

# Sections of the help. What belongs to none is what one needs every day, and comes first.
DATA, ARCHITECTURE, OPTIMISATION = "Data", "Architecture", "Optimisation"
AUGMENTATION, OBJECTIVE = "Augmentation", "Objective"
CHECKPOINTS, MACHINE, OUTPUT = "Validation and checkpoints", "Speed and memory", "Output"


def model_names() -> list[str]:
    """What completes `--model`: the runs under runs/ and the shipped models; found without torch, hence quickly."""
    shipped = Path(__file__).resolve().parents[1] / "pretrained"
    runs = sorted(path.parent.name for path in Path("runs").glob("*/config.json"))
    return runs + sorted(path.stem for path in shipped.glob("*.safetensors"))


def dataset_names() -> list[str]:
    """What completes `--dataset`."""
    from cpixelcnn.datasets.registry import DATASETS

    return list(DATASETS)


def _field(config: type, name: str, *short: str, negatable: bool = False, panel: str | None = None) -> Any:
    flag = "--" + name.replace("_", "-")
    declaration = f"{flag}/--no-{flag[2:]}" if negatable else flag
    return typer.Option(
        declaration,
        *short,
        help=field_help(config, name),
        metavar=None if negatable else _metavar(config, name),
        rich_help_panel=panel,
        show_default=False,
        autocompletion=_COMPLETIONS.get(name),
    )


_COMPLETIONS = {"dataset": dataset_names, "init_from": model_names}
_METAVARS = {
    "data_dir": "FOLDER",
    "init_from": "MODEL",
    "threads": "N|auto",
    "keep_checkpoints": "N|every:N|all",
}


def _metavar(config: type, name: str) -> str:
    """What stands for the value of a field in the help: N for whole numbers, X for others, NAME for words."""
    kind = str(config.__dataclass_fields__[name].type)  # type: ignore[attr-defined]
    return _METAVARS.get(name) or ("N" if kind.startswith("int") else "X" if kind.startswith("float") else "NAME")


def _model(name: str, *short: str) -> Any:
    return _field(ModelConfig, name, *short, panel=ARCHITECTURE)


def _train(panel: str | None, name: str, *short: str, negatable: bool = False) -> Any:
    return _field(TrainConfig, name, *short, negatable=negatable, panel=panel)


# Architecture
NrResnets = Annotated[int | None, _model("nr_resnets", "-q")]
NrFilters = Annotated[int | None, _model("nr_filters", "-n")]
NrLogisticMix = Annotated[int | None, _model("nr_logistic_mix", "-m")]
EarlyFusion = Annotated[str | None, _model("early_fusion")]
Film = Annotated[str | None, _model("film")]
ClassEmbeddingDim = Annotated[int | None, _model("class_embedding_dim")]
NrOrientations = Annotated[int | None, _model("nr_orientations")]
Dropout = Annotated[float | None, _model("dropout")]

# Training
Epochs = Annotated[int | None, _train(None, "epochs", "-x")]
BatchSize = Annotated[int | None, _train(None, "batch_size", "-b")]
Lr = Annotated[float | None, _train(None, "lr", "-l")]
TrainSeed = Annotated[int | None, _train(None, "seed", "-s")]
InitFrom = Annotated[str | None, _train(None, "init_from")]
LrDecay = Annotated[float | None, _train(OPTIMISATION, "lr_decay", "-e")]
Schedule = Annotated[str | None, _train(OPTIMISATION, "schedule")]
LrFinal = Annotated[float | None, _train(OPTIMISATION, "lr_final")]
WarmupSteps = Annotated[int | None, _train(OPTIMISATION, "warmup_steps")]
Beta1 = Annotated[float | None, _train(OPTIMISATION, "beta1")]
Beta2 = Annotated[float | None, _train(OPTIMISATION, "beta2")]
ClipGradNorm = Annotated[float | None, _train(OPTIMISATION, "clip_grad_norm")]
WeightDecay = Annotated[float | None, _train(OPTIMISATION, "weight_decay")]
EmaDecay = Annotated[float | None, _train(OPTIMISATION, "ema_decay")]
HorizontalFlip = Annotated[bool | None, _train(AUGMENTATION, "horizontal_flip", negatable=True)]
Shift = Annotated[int | None, _train(AUGMENTATION, "shift")]
TurnedShare = Annotated[float | None, _train(AUGMENTATION, "turned_share")]
Balanced = Annotated[bool | None, _train(AUGMENTATION, "balanced", negatable=True)]
DiscriminativeWeight = Annotated[float | None, _train(OBJECTIVE, "discriminative_weight")]
DiscriminativeClasses = Annotated[int | None, _train(OBJECTIVE, "discriminative_classes")]
DiscriminativeShare = Annotated[float | None, _train(OBJECTIVE, "discriminative_share")]
DiscriminativeTemperature = Annotated[float | None, _train(OBJECTIVE, "discriminative_temperature")]
AlignmentScale = Annotated[float | None, _train(OBJECTIVE, "alignment_scale")]
AlignmentWeight = Annotated[float | None, _train(OBJECTIVE, "alignment_weight")]
EvalInterval = Annotated[int | None, _train(CHECKPOINTS, "eval_interval")]
EvalImages = Annotated[int | None, _train(CHECKPOINTS, "eval_images")]
SampleInterval = Annotated[int | None, _train(CHECKPOINTS, "sample_interval")]
SaveInterval = Annotated[int | None, _train(CHECKPOINTS, "save_interval", "-t")]
KeepCheckpoints = Annotated[str | None, _train(CHECKPOINTS, "keep_checkpoints")]
Patience = Annotated[int | None, _train(CHECKPOINTS, "patience")]
MaxMinutes = Annotated[float | None, _train(CHECKPOINTS, "max_minutes")]
MaxBadSteps = Annotated[int | None, _train(CHECKPOINTS, "max_bad_steps")]
Precision = Annotated[str | None, _train(MACHINE, "precision")]
Compile = Annotated[str | None, _train(MACHINE, "compile")]
Threads = Annotated[str | None, _train(MACHINE, "threads")]
Accumulate = Annotated[int | None, _train(MACHINE, "accumulate")]
RecomputeActivations = Annotated[bool | None, _train(MACHINE, "recompute_activations", negatable=True)]

# Data
Dataset = Annotated[str | None, _field(DataConfig, "dataset", "-d", panel=DATA)]
DataDir = Annotated[str | None, _field(DataConfig, "data_dir", "-i", panel=DATA)]
ImageSize = Annotated[int | None, _field(DataConfig, "image_size", panel=DATA)]
Channels = Annotated[int | None, _field(DataConfig, "channels", panel=DATA)]
TrainSize = Annotated[int | None, _field(DataConfig, "train_size", panel=DATA)]
ValidationFraction = Annotated[float | None, _field(DataConfig, "validation_fraction", panel=DATA)]
SplitSeed = Annotated[int | None, _field(DataConfig, "split_seed", panel=DATA)]
Crops = Annotated[int | None, _field(DataConfig, "crops", panel=AUGMENTATION)]
SkipBad = Annotated[bool | None, _field(DataConfig, "skip_bad", negatable=True, panel=DATA)]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch a torchvision data set that is not there yet.", rich_help_panel=DATA)
]

# What every command with a model shares
MODEL_HELP = "A run (by its name or path), a checkpoint, a weight file, or a shipped model; see `cpixelcnn models`."
DEFAULT_MODEL_HELP = "Unless given: the newest finished run (on that data set, if you name one), else a shipped model."
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        autocompletion=model_names,
        help=f"{MODEL_HELP} {DEFAULT_MODEL_HELP}",
        show_default=False,
    ),
]
RawWeights = Annotated[
    bool, typer.Option("--raw-weights", help="Use the weights themselves rather than their moving average.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
BatchSizeForInference = Annotated[
    int, typer.Option("--batch-size", "-b", min=1, metavar="N", help="Images computed together.")
]
Prior = Annotated[
    str,
    typer.Option(
        "--prior",
        metavar="PRIOR",
        help="Class prior: uniform, training, estimated (from the images, without their labels), or one number a class "
        "(0.4,0.2,0.2,0.2).",
    ),
]
_VIEWS = (
    "Classify by the mean of log p over so many views: 2 adds the mirror image to the image, 8 quarter turns of both, "
    "10 four corners of the photograph and their mirror images."
)
Views = Annotated[int, typer.Option("--views", metavar="N", help=_VIEWS)]
ViewsAsCalibrated = Annotated[
    int | None,
    typer.Option("--views", metavar="N", help=f"{_VIEWS} Unless given: as the calibration was fitted, or 1."),
]
Uncalibrated = Annotated[
    bool, typer.Option("--uncalibrated", help="Leave the calibration alone that is stored with the model.")
]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="NAME",
        help="train, validation or test; auto: test where it is labelled, else validation.",
        rich_help_panel=DATA,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON document on stdout, everything else on stderr.", rich_help_panel=OUTPUT
    ),
]


def _quiet(*short: str) -> Any:
    text = "Show results, warnings and errors only."
    return typer.Option("--quiet", *short, callback=console.set_quiet, help=text, rich_help_panel=OUTPUT)


Quiet = Annotated[bool, _quiet("-q")]
QuietTraining = Annotated[bool, _quiet()]  # -q has long been the number of residual blocks there
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=console.set_verbose,
        help="Show versions, messages of the library, and tracebacks of internal errors.",
        rich_help_panel=OUTPUT,
    ),
]
Plots = Annotated[
    Path | None,
    typer.Option(
        "--plots",
        metavar="FOLDER",
        help="Draw pictures of the results into this folder.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="The run directory.",
        metavar="FOLDER",
        show_default=False,
    ),
]
