"""The options that only `cpixelcnn eval` has, but for those of pictures and of unfamiliar images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cpixelcnn.cli import options as o
from cpixelcnn.errors import ConfigError

Runs = Annotated[
    list[str] | None, typer.Argument(help="Models, as --model names them.", metavar="[MODEL]...", show_default=False)
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        autocompletion=o.model_names,
        help=f"{o.MODEL_HELP} {o.DEFAULT_MODEL_HELP} Several are compared.",
        show_default=False,
    ),
]
Samples = Annotated[
    Path | None,
    typer.Option(
        "--samples",
        metavar="PATH",
        help="Score labelled samples instead of a split: a folder, as `cpixelcnn sample` makes it, or an npz file.",
        show_default=False,
        rich_help_panel=o.DATA,
    ),
]
Calibrate = Annotated[
    str | None,
    typer.Option(
        "--calibrate",
        metavar="SPLIT",
        help="Fit a temperature on this split (validation, say) and store it beside the weights, for classify.",
        show_default=False,
        rich_help_panel=o.DATA,
    ),
]
SaveLogLikelihoods = Annotated[
    Path | None,
    typer.Option(
        "--save-log-likelihoods",
        metavar="FILE",
        help="Write log p(x | c) of every image under every class to this npz file, with labels, classes and names.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
    ),
]
AllCheckpoints = Annotated[
    bool,
    typer.Option("--all-checkpoints", help="Score every checkpoint that a run has kept, over its epochs."),
]
Fid = Annotated[
    str | None,
    typer.Option(
        "--fid",
        metavar="auto|DIMS",
        help="With --all-checkpoints: also the distance of 25 samples of each class from the images; auto, or 64, 192, "
        "768 or 2048 dimensions of Inception.",
        show_default=False,
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help="With --all-checkpoints: write a table with a row for each checkpoint.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
    ),
]


def refuse_for(what: str, options: Mapping[str, object]) -> None:
    """Refuse options that are given although they are for something else.

    Raises:
        ConfigError: names them.
    """
    if named := [flag for flag, value in options.items() if value not in (None, False)]:
        raise ConfigError(f"{', '.join(named)}: for {what} only; leave out what is not")
