"""`cpixelcnn eval`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.setup import (
    LoadedModel,
    data_config,
    load_images,
    load_model,
    parse_prior,
    shared_work,
)
from cpixelcnn.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from cpixelcnn.config import DataConfig
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.calibration import Calibration
    from cpixelcnn.evaluation.evaluate import Evaluation
    from cpixelcnn.evaluation.priors import Prior

Samples = Annotated[
    Path | None,
    typer.Option(
        "--samples",
        help="Score labelled samples instead of a split: a folder, as `cpixelcnn sample` makes it, or an npz file.",
        show_default=False,
        rich_help_panel=o.DATA,
    ),
]

Calibrate = Annotated[
    str | None,
    typer.Option(
        "--calibrate",
        help="Fit a temperature on this split (validation, say) and store it beside the weights, for classify.",
        show_default=False,
        rich_help_panel=o.DATA,
    ),
]


def evaluate(
    model: o.Model = None,
    raw_weights: o.RawWeights = False,
    samples: Samples = None,
    calibrate: Calibrate = None,
    split: o.Split = "auto",
    dataset: o.Dataset = None,
    data_dir: o.DataDir = None,
    skip_bad: o.SkipBad = None,
    download: o.Download = False,
    prior: o.Prior = "uniform",
    batch_size: o.BatchSizeForInference = 64,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Score a model on a labelled split or on samples: accuracy, F1, confusion, calibration and bits per dimension.

    Under torchrun the images are divided among the processes.
    """
    from cpixelcnn.evaluation.evaluate import evaluate as evaluate_model

    chosen_prior = parse_prior(prior)
    others = {"--split": split != "auto", "--dataset": dataset, "--data-dir": data_dir}
    others |= {"--calibrate": calibrate, "--skip-bad": skip_bad is not None, "--download": download}
    if samples is not None and (named := [flag for flag, given in others.items() if given not in (None, False)]):
        raise ConfigError(f"--samples takes the place of a data set; leave out {', '.join(named)}")
    config: DataConfig | None
    with shared_work() as processes:
        with processes.together():
            loaded = load_model(model, device, raw_weights=raw_weights, local_rank=processes.local_rank)
            if samples is not None:
                images, config = _load_samples(samples, loaded)
            else:
                config = data_config(loaded.config.data, dataset, data_dir, skip_bad=skip_bad)
                images = load_images(config, calibrate or split, loaded, download=download)
        with console.activity("scoring") as progress:
            result = evaluate_model(
                loaded.model,
                images,
                prior=chosen_prior,
                batch_size=batch_size,
                processes=processes,
                progress=progress,
            )
        with processes.together():
            result.density.require_finite()
        calibration = _calibrate(loaded, images, result, chosen_prior, processes) if calibrate else None
    if result.missing:
        console.warn(result.missing)
    scores, density = result.scores, result.density
    if json:
        console.write_json(
            {
                "model": str(loaded.path),
                "dataset": images.name,
                "split": images.split,
                "n_images": len(images),
                "accuracy": scores and scores.accuracy,
                "accuracy_ci95": scores and list(scores.accuracy_ci95),
                "f1_macro": scores and scores.f1_macro,
                "confusion": scores and scores.confusion.tolist(),
                "bpd": density.bpd,
                "bpd_marginal": density.bpd_marginal,
                "bpd_stderr": density.stderr,
                "nll_posterior": scores and scores.nll_posterior,
                "ece": scores and scores.ece,
                "brier": scores and scores.brier,
                "precision": scores and list(scores.precision),
                "recall": scores and list(scores.recall),
                "classes": list(images.classes or loaded.config.model.classes),
                "data": config and dataclasses.asdict(config),
                "calibration": calibration and dataclasses.asdict(calibration),
            }
        )
        return
    from cpixelcnn.cli.tables import calibration_table, confusion_table, evaluation_table

    title = f"{images.name}, {images.split} split" if samples is None else f"samples in {images.name}"
    console.print_result(evaluation_table(title, result))
    if scores is not None:
        console.print_result(confusion_table(scores, images.classes or loaded.config.model.classes))
    if calibration is not None:
        console.print_result(calibration_table(calibration))


def _calibrate(
    loaded: LoadedModel, images: ImageSet, result: Evaluation, prior: Prior, processes: Processes
) -> Calibration:
    """Fit a temperature to what was just computed, and store it beside the weights."""
    from cpixelcnn.evaluation.calibration import fit_calibration, save_calibration

    if result.classification is None:
        raise ConfigError("--calibrate needs a class-conditional model; this one knows no classes")
    log_likelihoods = result.classification.log_likelihoods[None]
    with processes.together():
        calibration = fit_calibration(loaded.config.model, images, log_likelihoods, prior=prior)
        if processes.is_main:
            try:
                console.info(f"stored     {save_calibration(loaded.path, calibration)}")
            except OSError as error:
                raise CheckpointError(
                    f"the calibration cannot be stored beside {loaded.path} ({error.strerror}); copy the model to a "
                    "folder of your own and name it with --model"
                ) from None
    return calibration


def _load_samples(path: Path, loaded: LoadedModel) -> tuple[ImageSet, DataConfig | None]:
    """Samples that suit the model, with the data that they were learned from, where their manifest tells."""
    from cpixelcnn.datasets.image_set import match_classes
    from cpixelcnn.sampling.folder.reader import read_samples

    model = loaded.config.model
    images, recorded = read_samples(path)
    channels, height, width = images.images.shape[1:]
    if (channels, height, width) != (model.image_channels, model.image_height, model.image_width):
        raise DataError(
            f"--samples {path} holds images of {_size(channels, height, width)}, but the model is for "
            f"{_size(model.image_channels, model.image_height, model.image_width)}; choose a --model of their size"
        )
    if not model.conditional:
        return images, recorded
    if not images.labelled:
        raise DataError(
            f"--samples {path} has images without a class, so there is nothing to score a classifier by; "
            "draw them from a class-conditional model with: cpixelcnn sample"
        )
    if not images.classes:
        console.info(f"classes    those of the model, by number, since {path} has no names for them")
        highest = int(images.labels.max())
        if highest >= model.nr_classes:
            raise DataError(
                f"--samples {path} has the label {highest}, but the model has only {model.nr_classes} classes; "
                "choose a --model of the same classes"
            )
    return match_classes(images, model.classes), recorded


def _size(channels: int, height: int, width: int) -> str:
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"
