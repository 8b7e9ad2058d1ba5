"""`cpixelcnn classify`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.classify_output import (
    Lines,
    Sink,
    course_numbers,
    csv_file,
    json_results,
    results_of,
    submission_file,
)
from cpixelcnn.cli.explain import Explain, Explainer, explanations
from cpixelcnn.cli.learned import stored_calibration, stored_familiarity
from cpixelcnn.cli.setup import LoadedModel, ended_in_order, load_model, parse_prior, shared_work
from cpixelcnn.errors import BadImagesError, DataError, OtherProcessError, plural

if TYPE_CHECKING:
    from cpixelcnn.datasets.compression import Compression
    from cpixelcnn.datasets.crops import Crop
    from cpixelcnn.datasets.user_images import UserBatch
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.calibration import Calibration
    from cpixelcnn.evaluation.stream import ClassifiedBatch

Images = Annotated[
    list[str],
    typer.Argument(
        help="Image files, folders that are searched for images, patterns such as 'img*.png', or - for names on "
        "standard input, one a line.",
        metavar="IMAGES...",
        show_default=False,
    ),
]
ClassifyModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        autocompletion=o.model_names,
        help=f"{o.MODEL_HELP} Unless given: the shipped model of photographs, or the newest finished run on the folder "
        "that the images lie in.",
        show_default=False,
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Exit with 0 even if some images could not be read.", rich_help_panel=o.DATA),
]
AsIs = Annotated[
    bool,
    typer.Option(
        "--as-is",
        help="Do not compress photographs as 64x64 JPEG before they are scaled. That is done for models of cpen455, "
        "whose training images were such files.",
        rich_help_panel=o.DATA,
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help="Write a table with a row for each image.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
    ),
]
Submission = Annotated[
    Path | None,
    typer.Option(
        "--submission",
        metavar="FILE",
        help="Write folder/file,class for each image, as cpen455's own lists have it.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
    ),
]


def classify(
    images: Images,
    model: ClassifyModel = None,
    raw_weights: o.RawWeights = False,
    prior: o.Prior = "uniform",
    views: o.ViewsAsCalibrated = None,
    uncalibrated: o.Uncalibrated = False,
    batch_size: o.BatchSizeForInference = 64,
    skip_bad: SkipBad = False,
    as_is: AsIs = False,
    device: o.Device = "auto",
    csv: Csv = None,
    submission: Submission = None,
    explain: Explain = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Name the class of images: argmax over classes of log p(x | c) + log p(c).

    Results come batch by batch, so that any number of images needs little memory and an interruption loses none that
    is printed or written. Where an image lies in a folder that is named after a class, that is taken for its true
    class, and accuracy is shown. Under torchrun the images are divided among the processes.
    """
    from cpixelcnn.datasets.compression import COMPRESSIONS
    from cpixelcnn.datasets.user_images import refuse_missing
    from cpixelcnn.evaluation.stream import classify_batches
    from cpixelcnn.evaluation.views import check_views, crops_for

    chosen_prior = parse_prior(prior)
    if views is not None:
        check_views(views)
    with shared_work() as processes, ended_in_order(processes), ExitStack() as files:
        with processes.together():
            refuse_missing(images)
            loaded = load_model(model, device, raw_weights=raw_weights, local_rank=processes.local_rank, images=images)
            calibration = None if uncalibrated else stored_calibration(loaded)
            views = views or (calibration.views if calibration else 1)
            check_views(views, loaded.config.model)
            compression = None if as_is else COMPRESSIONS.get(loaded.config.data.dataset)
            familiarity = stored_familiarity(loaded)
            known = familiarity is not None
            classes = loaded.config.model.classes
            sinks: list[Sink] = []
            explainer: Explainer | None = None
            if explain is not None:
                explainer = files.enter_context(explanations(explain, loaded, views, processes))
            if processes.is_main and csv is not None:
                sinks.append(files.enter_context(csv_file(csv, "--csv", classes, unfamiliar=known)))
            if processes.is_main and submission is not None:
                numbers = course_numbers(classes)
                sinks.append(files.enter_context(submission_file(submission, "--submission", numbers)))
            # Last: what is printed is in the files as well.
            sinks.append(json_results if json else Lines(classes, unfamiliar=known))
        batches = classify_batches(
            loaded.model,
            _read(images, loaded, compression, crops_for(views), batch_size, processes),
            prior="uniform" if chosen_prior == "estimated" else chosen_prior,
            temperature=calibration.temperature if calibration else 1.0,
            views=views,
            batch_size=batch_size,
            processes=processes,
        )
        if chosen_prior == "estimated":
            batches = _with_estimated_prior(loaded, batches, calibration.temperature if calibration else 1.0)
        tally = _Tally(classes)
        for batch in batches:
            if explainer is not None:
                explainer(batch)
            with processes.together():
                if json and not tally.begun:
                    console.begin_json(_about(loaded, calibration, views, compression), "results")
                tally.add(batch)
                results = results_of(batch, classes, calibration, familiarity)
                for sink in sinks:
                    sink(results)
        tally.require_images(images)
        _conclude(tally, json, compression)
    if tally.failures:
        error = BadImagesError(tally.failures, "the others were classified")
        if not skip_bad:
            raise error if processes.is_main else OtherProcessError(error.exit_code)
        console.warn(str(error))


def _read(
    images: Sequence[str],
    loaded: LoadedModel,
    compression: Compression | None,
    crops: Sequence[Crop],
    batch_size: int,
    processes: Processes,
) -> Iterator[UserBatch]:
    """The images that are named, so many at a time that each process has a batch."""
    from cpixelcnn.datasets.user_images import iter_user_images

    lines: Iterable[str] = sys.stdin
    if "-" in images and not processes.alone:
        lines = processes.broadcast(sys.stdin.readlines)
    config = loaded.config.model
    return iter_user_images(
        images,
        channels=config.image_channels,
        height=config.image_height,
        width=config.image_width,
        batch_size=batch_size * processes.world_size,
        compression=compression,
        crops=crops,
        standard_input=lines,
    )


def _with_estimated_prior(
    loaded: LoadedModel, batches: Iterable[ClassifiedBatch], temperature: float
) -> Iterator[ClassifiedBatch]:
    """The batches once more, when all have been seen, with the frequencies of classes that are estimated from them."""
    import torch

    from cpixelcnn.evaluation.classify import posterior
    from cpixelcnn.evaluation.priors import estimate_prior

    kept = list(batches)
    log_likelihoods = torch.cat([batch.classification.log_likelihoods for batch in kept]) if kept else torch.empty(0, 1)
    if not len(log_likelihoods):
        yield from kept
        return
    prior = estimate_prior(log_likelihoods / temperature).tolist()
    classes = loaded.config.model.classes
    shown = ", ".join(f"{name} {100 * weight:.1f} %" for name, weight in zip(classes, prior, strict=True))
    console.info(f"prior      estimated from {plural(len(log_likelihoods), 'image')}: {shown}")
    for batch in kept:
        likelihoods = batch.classification.log_likelihoods
        yield replace(batch, classification=posterior(loaded.config.model, likelihoods, prior, temperature))


@dataclass
class _Tally:
    """What is counted of all batches."""

    classes: tuple[str, ...]
    counts: list[int] = field(default_factory=list)
    nr_known: int = 0
    nr_right: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)
    animated: int = 0
    compressed: int = 0
    uncut: int = 0
    begun: bool = False
    last_note: float = field(default_factory=time.monotonic)

    def add(self, batch: ClassifiedBatch) -> None:
        """Count a batch, and tell how far the work is where its results are not seen."""
        predictions = batch.classification.predictions
        counts = self.counts or [0] * len(self.classes)
        self.counts = [n + int((predictions == label).sum()) for label, n in enumerate(counts)]
        known = batch.labels >= 0
        self.nr_known += int(known.sum())
        self.nr_right += int((predictions == batch.labels)[known].sum())
        self.failures += batch.source.failures
        self.animated += len(batch.source.animated)
        self.compressed += len(batch.source.compressed)
        self.uncut += len(batch.source.uncut)
        self.begun = True
        if not sys.stdout.isatty() and time.monotonic() - self.last_note >= console.PLAIN_INTERVAL:
            self.last_note = time.monotonic()
            console.info(f"classified {plural(sum(self.counts), 'image')}")

    def require_images(self, images: Sequence[str]) -> None:
        """Refuse to have done nothing."""
        if not sum(self.counts):
            if self.failures:
                raise BadImagesError(self.failures, "there is nothing else to read")
            raise DataError(f"there are no images in {', '.join(images)}; name image files or folders with images")


def _about(
    loaded: LoadedModel, calibration: Calibration | None, views: int, compression: Compression | None
) -> dict[str, Any]:
    return {
        "model": str(loaded.path),
        "classes": list(loaded.config.model.classes),
        "trained_on": loaded.config.data.dataset,
        "temperature": calibration.temperature if calibration else None,
        "views": views,
        "compression": None if compression is None else str(compression),
    }


def _conclude(tally: _Tally, json: bool, compression: Compression | None) -> None:
    from cpixelcnn.datasets.compression import compression_note
    from cpixelcnn.datasets.photographs import uncut_note

    if note := compression_note(tally.compressed, compression):
        console.info(f"note       {note}; not with --as-is")
    if note := uncut_note(tally.uncut):
        console.info(f"note       {note}")
    if tally.animated:
        images = plural(tally.animated, "image")
        console.info(f"note       {images} with several frames: the first frame was taken")
    accuracy = tally.nr_right / tally.nr_known if tally.nr_known else None
    if json:
        errors = [{"path": str(path), "error": reason} for path, reason in tally.failures]
        document: dict[str, Any] = {"errors": errors, "n_images": sum(tally.counts), "n_compressed": tally.compressed}
        console.write_json(document if accuracy is None else document | {"accuracy": accuracy})
        return
    from rich.text import Text

    counts = ", ".join(f"{name} {n}" for name, n in zip(tally.classes, tally.counts, strict=True) if n)
    console.print_result(Text(f"{plural(sum(tally.counts), 'image')}: {counts}"))
    if accuracy is not None:
        from cpixelcnn.cli.tables import percent_with_interval
        from cpixelcnn.evaluation.scores import wilson_interval

        shown = percent_with_interval(accuracy, wilson_interval(tally.nr_right, tally.nr_known))
        console.print_result(f"accuracy {shown} on {plural(tally.nr_known, 'image')} whose folder names a class")
