"""Pictures that `eval` and `bpd` draw beside what they print."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpixelcnn.cli import options as o
from cpixelcnn.cli.findings import Findings
from cpixelcnn.cli.output_files import check_output, claim_folder, unwritable, writing
from cpixelcnn.errors import plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cpixelcnn.config import DataConfig
    from cpixelcnn.evaluation.pixel_maps import BitsMap

INDEX = "pictures.json"
_COLUMNS = 4  # of the picture of mistakes

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
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Write everything to one HTML page, which needs no network and no other file.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
    ),
]


@dataclass(frozen=True)
class PictureOptions:
    """The files that are wanted beside what is printed.

    Attributes:
        map: `--map`.
        plots: `--plots`.
        report: `--report`.
    """

    map: Path | None = None
    plots: Path | None = None
    report: Path | None = None

    def __bool__(self) -> bool:
        return any((self.map, self.plots, self.report))

    def check(self) -> None:
        """Refuse places that cannot be written, before the work; make the folder.

        Raises:
            ConfigError: names the option and says why.
        """
        check_output(self.map, "--map")
        check_output(self.report, "--report")
        if self.plots is not None:
            claim_folder(self.plots, "--plots", INDEX, "checkpoints.png")


def draw_pictures(options: PictureOptions, findings: Findings, data: DataConfig | None) -> None:
    """Draw whatever the options name.

    Args:
        options: the files that are wanted.
        findings: what they show.
        data: how the images were read, where that is known.

    Raises:
        ConfigError: a file cannot be written.
    """
    from cpixelcnn.cli.report import save_report

    if options.map is not None:
        save_bits_map(options.map, findings.bits, findings.about)
    if options.plots is not None:
        save_plots(options.plots, findings)
    if options.report is not None:
        save_report(options.report, findings, data)


def save_bits_map(path: Path, bits: BitsMap, about: str) -> None:
    """Draw where bits are spent to the file that `--map` names."""
    from cpixelcnn.storage import write_png

    with writing(path, "--map"):
        write_png(path, _bits(bits, about))


def save_plots(folder: Path, findings: Findings) -> None:
    """Draw all that there is to draw into the folder that `--plots` names, and list it in a file there."""
    from cpixelcnn.storage import write_json, write_png

    names = []
    for name, picture in _plots(findings):
        with writing(folder / name, "--plots"):
            write_png(folder / name, picture)
        names.append(name)
    images = findings.images
    about = {"model": str(findings.loaded.path), "dataset": images.name, "split": images.split}
    with unwritable(folder, "--plots"):
        write_json(folder / INDEX, {**about, "n_images": len(images), "pictures": names})


def _plots(findings: Findings) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Names of files and what is in them."""
    from cpixelcnn.plots.curves import draw_curves
    from cpixelcnn.plots.figures import pixels
    from cpixelcnn.plots.maps import draw_evidence
    from cpixelcnn.plots.scores import draw_confusion, draw_reliability

    about, classes, scores = findings.about, findings.classes, findings.evaluation.scores
    if scores is not None:
        yield "confusion.png", pixels(draw_confusion(scores.confusion, classes, title=about))
        yield "reliability.png", pixels(draw_reliability(findings.reliability, title=about))
    if findings.mistakes:
        yield "mistakes.png", _mistakes(findings)
    for number, (mistake, evidence) in enumerate(zip(findings.mistakes, findings.evidence, strict=True), 1):
        first, second = classes[mistake.prediction], classes[mistake.label]
        figure = draw_evidence(
            findings.images.images[mistake.index],
            evidence,
            first=first,
            second=second,
            title=findings.file_name(mistake.index),
        )
        yield f"evidence-{number:02}.png", pixels(figure)
    yield "bits.png", _bits(findings.bits, about)
    if findings.records:
        yield "curves.png", pixels(draw_curves(findings.records, title=about, nr_classes=len(classes)))


def _mistakes(findings: Findings) -> NDArray[np.uint8]:
    import torch

    from cpixelcnn.plots.grids import captioned_tiles

    classes = findings.classes
    captions = [
        (f"is {classes[each.label]}", f"taken for {classes[each.prediction]}", findings.told_probability(each))
        for each in findings.mistakes
    ]
    chosen = torch.tensor([each.index for each in findings.mistakes])
    return captioned_tiles(findings.images.images[chosen], captions, _COLUMNS)


def _bits(bits: BitsMap, about: str) -> NDArray[np.uint8]:
    from cpixelcnn.plots.figures import pixels
    from cpixelcnn.plots.maps import draw_bits_map

    given = ", class given" if bits.conditional else ""
    return pixels(draw_bits_map(bits.bits, title=f"{about}, {plural(bits.n_images, 'image')}{given}"))
