"""`cpixelcnn classify --explain FOLDER`: for each image a picture of where the evidence for its class lies."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.output_files import claim_folder, unwritable
from cpixelcnn.errors import ConfigError, plural

if TYPE_CHECKING:
    from cpixelcnn.cli.setup import LoadedModel
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.stream import ClassifiedBatch

INDEX = "explanations.csv"
_LONGEST_STEM = 40

Explain = Annotated[
    Path | None,
    typer.Option(
        "--explain",
        metavar="FOLDER",
        help="Draw for each image, into this folder, where the evidence for its class against the runner-up lies.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
    ),
]


Explainer = Callable[["ClassifiedBatch"], object]  # every process calls it


@contextmanager
def explanations(folder: Path, loaded: LoadedModel, views: int, processes: Processes) -> Iterator[Explainer]:
    """A folder with a picture for each image, and a table of them; an older table of ours is replaced.

    What is drawn before an interruption stays, and is in the table.

    Raises:
        ConfigError: the folder holds something else or cannot be written, or the model has one class only.
    """
    classes = loaded.config.model.classes
    if len(classes) < 2:
        raise ConfigError("--explain shows the evidence between two classes, but this model has only one; leave it out")
    if not processes.is_main:
        yield lambda batch: _find_and_draw(batch, loaded, views, processes, None)
        return
    claim_folder(folder, "--explain", INDEX)
    nr_rows = 0
    with unwritable(folder, "--explain"):
        file = (folder / INDEX).open("w", encoding="utf-8", errors="surrogateescape", newline="")
    with file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "picture", "class", "against", "nats"])

        def explain(batch: ClassifiedBatch) -> None:
            nonlocal nr_rows
            drawn = _find_and_draw(batch, loaded, views, processes, folder)
            with unwritable(folder, "--explain"):
                rows.writerows(drawn)
                file.flush()
            nr_rows += len(drawn)

        try:
            yield explain
        finally:
            console.info(f"explained  {plural(nr_rows, 'image')}: {folder / INDEX}")


def _find_and_draw(
    batch: ClassifiedBatch, loaded: LoadedModel, views: int, processes: Processes, folder: Path | None
) -> list[list[object]]:
    """Rows of the table of the pictures that were drawn, none without a folder."""
    from cpixelcnn.evaluation.pixel_maps import evidence_map
    from cpixelcnn.plots.figures import save_figure
    from cpixelcnn.plots.maps import draw_evidence

    found, images, classes = batch.classification, batch.source.images, loaded.config.model.classes
    best = found.predictions
    second = found.log_posteriors.scatter(1, best[:, None], float("-inf")).argmax(dim=1)
    second = second.where(second != best, (best + 1) % len(classes))  # where the prior rules out all others
    maps = evidence_map(loaded.model, images, best, second, crops=batch.source.crops, views=views, processes=processes)
    rows: list[list[object]] = []
    with processes.together():
        for i, path in enumerate(batch.paths if folder else ()):
            assert folder is not None
            name, other = classes[int(best[i])], classes[int(second[i])]
            title = f"{path.name}, {float(found.probabilities[i, best[i]]):.4f} {name}"
            target = folder / picture_name(path)
            with unwritable(target, "--explain"):
                save_figure(target, draw_evidence(images[i], maps[i], first=name, second=other, title=title))
            rows.append([str(path), target.name, name, other, float(maps[i].sum())])
    return rows


def picture_name(path: Path) -> str:
    """A name for the picture of an image: that of the image, with a digest of its folder, so that no two are the same.

    >>> picture_name(Path("/a/cat 1.jpg")), picture_name(Path("/b/cat 1.jpg"))
    ('cat_1-a31cb02a.png', 'cat_1-4c1e78bc.png')
    """
    digest = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=4).hexdigest()
    stem = re.sub(r"[^\w.-]+", "_", path.stem)[:_LONGEST_STEM]
    return f"{stem}-{digest}.png"
