"""`cpixelcnn classify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.setup import load_model, parse_prior, read_images_for, shared_work
from cpixelcnn.errors import BadImagesError, OtherProcessError

if TYPE_CHECKING:
    from rich.table import Table

    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.evaluation.classify import Classification

Images = Annotated[
    list[Path],
    typer.Argument(
        help="Image files, folders to search for images, patterns such as '*.png', or - to read names from stdin.",
        metavar="IMAGES...",
        show_default=False,
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Exit with 0 even if some images could not be read.")]


def classify(
    images: Images,
    model: o.Model = None,
    raw_weights: o.RawWeights = False,
    prior: o.Prior = "uniform",
    batch_size: o.BatchSizeForInference = 64,
    skip_bad: SkipBad = False,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Name the class of images: argmax over classes of log p(x | c) + log p(c).

    Where an image lies in a folder that is named after a class, that is taken for its true class, and accuracy is
    shown. Under torchrun the images are divided among the processes.
    """
    from cpixelcnn.evaluation.classify import classify as classify_images

    chosen_prior = parse_prior(prior)
    with shared_work() as processes:
        with processes.together():
            loaded = load_model(
                model, device, raw_weights=raw_weights, local_rank=processes.local_rank, photographs=True
            )
            inputs, failures = read_images_for(loaded, images, skip_bad=True)
        with console.activity("classifying") as progress:
            result = classify_images(
                loaded.model,
                inputs.images,
                prior=chosen_prior,
                batch_size=batch_size,
                processes=processes,
                progress=progress,
            )
    known = inputs.labels >= 0
    correct = int((result.predictions == inputs.labels)[known].sum()) if bool(known.any()) else None
    nr_known = int(known.sum())
    if json:
        errors = [{"path": str(path), "error": reason} for path, reason in failures]
        document: dict[str, Any] = {"model": str(loaded.path), "classes": list(inputs.classes)}
        document |= {"results": _results(inputs, result), "errors": errors}
        if correct is not None:
            document["accuracy"] = correct / nr_known
        console.write_json(document)
    else:
        console.print_result(_table(inputs, result))
        if correct is not None:
            from cpixelcnn.cli.tables import percent_with_interval
            from cpixelcnn.evaluation.scores import wilson_interval

            share = percent_with_interval(correct / nr_known, wilson_interval(correct, nr_known))
            console.print_result(f"accuracy {share} on {nr_known} images whose folder names a class")
    if failures:
        error = BadImagesError(failures, "the others were classified")
        if not skip_bad:
            raise error if processes.is_main else OtherProcessError(error.exit_code)
        console.warn(str(error))


def _results(inputs: ImageSet, result: Classification) -> list[dict[str, Any]]:
    paths = inputs.paths or ()
    rows = zip(
        paths, result.predictions.tolist(), result.probabilities.tolist(), result.log_likelihoods.tolist(), strict=True
    )
    return [
        {
            "path": str(path),
            "label": inputs.classes[index],
            "index": index,
            "probability": probabilities[index],
            "probabilities": probabilities,
            "log_likelihoods": log_likelihoods,
        }
        for path, index, probabilities, log_likelihoods in rows
    ]


def _table(inputs: ImageSet, result: Classification) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{len(inputs)} image{'s' * (len(inputs) != 1)}", title_justify="left")
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("probability", justify="right")
    table.add_column("runner-up", overflow="fold")
    for row in _results(inputs, result):
        order = sorted(range(len(inputs.classes)), key=lambda i, row=row: -row["probabilities"][i])  # type: ignore[misc]
        second = inputs.classes[order[1]] if len(order) > 1 else ""
        table.add_row(escape(row["path"]), escape(row["label"]), f"{row['probability']:.4f}", escape(second))
    return table
