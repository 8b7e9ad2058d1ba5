"""The options that only `cpixelcnn fid` has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpixelcnn.cli import options as o

FEATURES = "Features"

SamplesFolder = Annotated[
    Path,
    typer.Option(
        "--samples",
        metavar="PATH",
        help="Folder of samples, as `cpixelcnn sample` makes them, or of any images; or an npz file of them.",
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help="Measure as published FIDs are: course (192 dimensions, 25 samples of each class, test images of cpen455 "
        "as stored) or standard (2,048 dimensions, 10,000 samples or more).",
        show_default=False,
    ),
]
Features = Annotated[
    str,
    typer.Option(
        "--features",
        metavar="NAME",
        help="auto, inception, or efficientnet-lite0, -lite1 or -lite2 (whose distances are not FIDs).",
        rich_help_panel=FEATURES,
    ),
]
Dims = Annotated[
    int | None,
    typer.Option(
        "--dims",
        metavar="N",
        help="Dimensions of Inception's features: 64, 192, 768 or 2048 (the default). Asks for Inception.",
        show_default=False,
        rich_help_panel=FEATURES,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="File of Inception's weights (pt_inception-2015-12-05-6726825d.pth).",
        show_default=False,
        rich_help_panel=FEATURES,
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="PATH",
        help="A folder of images, or statistics (.npz with mu and sigma), instead of a data set.",
        show_default=False,
        rich_help_panel=o.DATA,
    ),
]
SaveStatistics = Annotated[
    Path | None,
    typer.Option(
        "--save-statistics",
        metavar="FILE",
        help="Also write the statistics of the reference to this .npz, for --reference another time.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
    ),
]
ReferenceSize = Annotated[
    int | None,
    typer.Option(
        "--reference-size",
        metavar="N",
        min=8,
        help="Height and width of the reference images; the samples' unless given (64: cpen455 as stored).",
        show_default=False,
        rich_help_panel=o.DATA,
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Split of the reference images: train, validation or test (the default).",
        show_default=False,
        rich_help_panel=o.DATA,
    ),
]
PerClass = Annotated[
    bool,
    typer.Option(
        "--per-class",
        help="Also compare each class with the real images of that class (a labelled split).",
    ),
]
