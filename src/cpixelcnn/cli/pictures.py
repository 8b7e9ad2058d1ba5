"""Pictures that the commands draw beside what they print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.output_files import writing

if TYPE_CHECKING:
    from cpixelcnn.cli.setup import LoadedModel
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.pixel_maps import BitsMap
    from cpixelcnn.evaluation.priors import Prior

Map = Annotated[
    Path | None,
    typer.Option(
        "--map",
        metavar="FILE",
        help="Draw to this PNG file where in the image, and in which channel, the bits are spent.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
    ),
]


def find_bits_map(
    loaded: LoadedModel, images: ImageSet, *, prior: Prior, batch_size: int, processes: Processes
) -> BitsMap:
    """Where the bits of these images are spent; every process calls this and gets the whole map."""
    from cpixelcnn.evaluation.pixel_maps import bits_map

    with console.activity("bits map") as progress:
        return bits_map(
            loaded.model,
            images.images,
            images.labels,
            prior=prior,
            batch_size=batch_size,
            processes=processes,
            progress=progress,
        )


def save_bits_map(path: Path, found: BitsMap, about: str) -> None:
    """Draw a map to the file that `--map` names."""
    from cpixelcnn.plots.figures import save_figure
    from cpixelcnn.plots.maps import draw_bits_map

    with writing(path, "--map"):
        save_figure(path, draw_bits_map(found.bits, title=bits_title(found, about)))


def title_of(loaded: LoadedModel, data: str) -> str:
    """The model and the data, for above a picture."""
    from cpixelcnn.runs.models import model_name

    return f"{model_name(loaded.path)}: {data}"


def bits_title(found: BitsMap, about: str) -> str:
    """What a map of bits is of."""
    given = ", class given" if found.conditional else ""
    return f"{about}, {console.plural(found.n_images, 'image')}{given}"
