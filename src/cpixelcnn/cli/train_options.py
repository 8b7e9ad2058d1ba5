"""The options that only `cpixelcnn train` has, but for those that are fields of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpixelcnn.cli import options as o
from cpixelcnn.presets import DEFAULT_PRESET, PRESETS

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
