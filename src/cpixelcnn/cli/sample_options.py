"""The options of `cpixelcnn sample` that no other command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HOW, COMPLETION, FILES = "How to sample", "Completion", "Files"

Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        "-c",
        metavar="CLASS",
        help="Classes by name (in any case) or number, separated by commas, or all; may be repeated.",
        show_default="all",
    ),
]
PerClass = Annotated[
    int,
    typer.Option(
        "--per-class", "-k", metavar="N", min=1, help="Images of each class; a folder that holds fewer gets the others."
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", "-s", metavar="N", min=0, help="Seed; the same one gives the same images.")
]
Sampler = Annotated[
    str,
    typer.Option(
        "--sampler",
        metavar="NAME",
        help="incremental, or naive: the whole network for every pixel, the slow reference.",
        rich_help_panel=HOW,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="float32, or bfloat16: faster in large batches, not exact.",
        rich_help_panel=HOW,
    ),
]
MixtureTemperature = Annotated[
    float,
    typer.Option(
        "--mixture-temperature",
        metavar="X",
        help="Temperature of the mixture's choice; 1 is the model, other values are not its distribution.",
        rich_help_panel=HOW,
    ),
]
ScaleTemperature = Annotated[
    float,
    typer.Option(
        "--scale-temperature",
        metavar="X",
        help="Temperature of the logistics' scales; 1 likewise.",
        rich_help_panel=HOW,
    ),
]
Guidance = Annotated[
    float,
    typer.Option(
        "--guidance", metavar="X", help="Weight w in p(x|c)^(1+w) / p(x)^w; 0 is the model.", rich_help_panel=HOW
    ),
]
GuidanceModel = Annotated[
    str | None,
    typer.Option(
        "--guidance-model",
        metavar="MODEL",
        help="An unconditional model for p(x), as --model takes it; the mixture over the classes unless given.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Complete = Annotated[
    list[Path] | None,
    typer.Option(
        "--complete",
        metavar="PATH",
        help="Complete these images (files or folders) from a row downwards, by default each in the class that its "
        "folder names, or else in every class; may be repeated.",
        show_default=False,
        rich_help_panel=COMPLETION,
    ),
]
FromRow = Annotated[
    int | None,
    typer.Option(
        "--from-row",
        metavar="N",
        min=0,
        help="First row that is drawn; half of the height unless given.",
        show_default=False,
        rich_help_panel=COMPLETION,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="FOLDER", help="Folder for the images, the grid and the manifest.", rich_help_panel=FILES
    ),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="NAME",
        help="png, or npz: one file for all images, for large numbers.",
        rich_help_panel=FILES,
    ),
]
Strip = Annotated[
    bool,
    typer.Option(
        "--strip", help="Write strip.png, too: the first image of each class while it is drawn.", rich_help_panel=FILES
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the samples that the folder holds.", rich_help_panel=FILES)
]
