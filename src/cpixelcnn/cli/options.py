"""The options of the command line, each defined once, so that it means the same wherever it appears.

Options that set a field of a configuration take their help from that field's documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cpixelcnn.config import DataConfig, ModelConfig, TrainConfig, field_help

ARCHITECTURE, TRAINING, DATA, OUTPUT = "Architecture", "Training", "Data", "Output"


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
        rich_help_panel=panel,
        show_default=False,
        autocompletion=dataset_names if name == "dataset" else None,
    )


def _model(name: str, *short: str) -> Any:
    return _field(ModelConfig, name, *short, panel=ARCHITECTURE)


def _train(name: str, *short: str, negatable: bool = False) -> Any:
    return _field(TrainConfig, name, *short, negatable=negatable, panel=TRAINING)


# Architecture
NrResnets = Annotated[int | None, _model("nr_resnets", "-q")]
NrFilters = Annotated[int | None, _model("nr_filters", "-n")]
NrLogisticMix = Annotated[int | None, _model("nr_logistic_mix", "-m")]
EarlyFusion = Annotated[str | None, _model("early_fusion")]
Film = Annotated[str | None, _model("film")]
ClassEmbeddingDim = Annotated[int | None, _model("class_embedding_dim")]
Dropout = Annotated[float | None, _model("dropout")]

# Training
Epochs = Annotated[int | None, _train("epochs", "-x")]
BatchSize = Annotated[int | None, _train("batch_size", "-b")]
Lr = Annotated[float | None, _train("lr", "-l")]
LrDecay = Annotated[float | None, _train("lr_decay", "-e")]
Schedule = Annotated[str | None, _train("schedule")]
LrFinal = Annotated[float | None, _train("lr_final")]
WarmupSteps = Annotated[int | None, _train("warmup_steps")]
Beta1 = Annotated[float | None, _train("beta1")]
Beta2 = Annotated[float | None, _train("beta2")]
ClipGradNorm = Annotated[float | None, _train("clip_grad_norm")]
WeightDecay = Annotated[float | None, _train("weight_decay")]
Accumulate = Annotated[int | None, _train("accumulate")]
RecomputeActivations = Annotated[bool | None, _train("recompute_activations", negatable=True)]
EmaDecay = Annotated[float | None, _train("ema_decay")]
HorizontalFlip = Annotated[bool | None, _train("horizontal_flip", negatable=True)]
Shift = Annotated[int | None, _train("shift")]
Balanced = Annotated[bool | None, _train("balanced", negatable=True)]
DiscriminativeWeight = Annotated[float | None, _train("discriminative_weight")]
DiscriminativeClasses = Annotated[int | None, _train("discriminative_classes")]
DiscriminativeShare = Annotated[float | None, _train("discriminative_share")]
Precision = Annotated[str | None, _train("precision")]
Compile = Annotated[str | None, _train("compile")]
Threads = Annotated[str | None, _train("threads")]
TrainSeed = Annotated[int | None, _train("seed", "-s")]
EvalInterval = Annotated[int | None, _train("eval_interval")]
EvalImages = Annotated[int | None, _train("eval_images")]
SampleInterval = Annotated[int | None, _train("sample_interval")]
SaveInterval = Annotated[int | None, _train("save_interval", "-t")]
KeepCheckpoints = Annotated[str | None, _train("keep_checkpoints")]
MaxBadSteps = Annotated[int | None, _train("max_bad_steps")]
Patience = Annotated[int | None, _train("patience")]
MaxMinutes = Annotated[float | None, _train("max_minutes")]
InitFrom = Annotated[str | None, _train("init_from")]

# Data
Dataset = Annotated[str | None, _field(DataConfig, "dataset", "-d", panel=DATA)]
DataDir = Annotated[str | None, _field(DataConfig, "data_dir", "-i", panel=DATA)]
ImageSize = Annotated[int | None, _field(DataConfig, "image_size", panel=DATA)]
Channels = Annotated[int | None, _field(DataConfig, "channels", panel=DATA)]
TrainSize = Annotated[int | None, _field(DataConfig, "train_size", panel=DATA)]
ValidationFraction = Annotated[float | None, _field(DataConfig, "validation_fraction", panel=DATA)]
SplitSeed = Annotated[int | None, _field(DataConfig, "split_seed", panel=DATA)]
SkipBad = Annotated[bool | None, _field(DataConfig, "skip_bad", negatable=True, panel=DATA)]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch a torchvision data set that is not there yet.", rich_help_panel=DATA)
]

# What every command with a model shares
MODEL_HELP = (
    "A run or checkpoint directory, a weight file, or a shipped model. "
    "Default: the newest finished run under runs/, else the shipped model."
)
Model = Annotated[
    str | None,
    typer.Option("--model", autocompletion=model_names, help=MODEL_HELP, show_default=False),
]
RawWeights = Annotated[
    bool, typer.Option("--raw-weights", help="Use the weights themselves rather than their moving average.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
BatchSizeForInference = Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Images computed together.")]
Prior = Annotated[
    str,
    typer.Option(
        "--prior",
        help="Class prior: uniform, training, estimated (from the images, without their labels), or one number a class "
        "(0.4,0.2,0.2,0.2).",
    ),
]
Views = Annotated[
    int, typer.Option("--views", help="2 to classify each image by its mirror image as well (mean of log p).")
]
Uncalibrated = Annotated[
    bool, typer.Option("--uncalibrated", help="Leave the calibration alone that is stored with the model.")
]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        help="train, validation or test; auto: test where it is labelled, else validation.",
        rich_help_panel=DATA,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, everything else on stderr.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="The run directory; the next free runs/DATASET-PRESET-NUMBER unless given.",
        show_default=False,
    ),
]
