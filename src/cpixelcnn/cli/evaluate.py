"""`cpixelcnn eval`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.images_to_score import ImageChoice
from cpixelcnn.cli.output_files import check_output, writing
from cpixelcnn.cli.setup import LoadedModel, load_model, parse_prior, shared_work
from cpixelcnn.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from cpixelcnn.datasets.image_set import ImageSet
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
SaveLogLikelihoods = Annotated[
    Path | None,
    typer.Option(
        "--save-log-likelihoods",
        help="Write log p(x | c) of every image under every class to this npz file, with labels, classes and names.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
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
    views: o.Views = 1,
    batch_size: o.BatchSizeForInference = 64,
    device: o.Device = "auto",
    save_log_likelihoods: SaveLogLikelihoods = None,
    json: o.Json = False,
) -> None:
    """Score a model on a labelled split or on samples: accuracy, F1, confusion, calibration and bits per dimension.

    Under torchrun the images are divided among the processes.
    """
    from cpixelcnn.evaluation.evaluate import evaluate as evaluate_model
    from cpixelcnn.evaluation.views import check_views

    chosen_prior = parse_prior(prior)
    check_views(views)
    if calibrate is not None and (samples is not None or split != "auto"):
        raise ConfigError("--calibrate names the split to score; leave out --samples and --split")
    choice = ImageChoice(samples, calibrate or split, dataset, data_dir, skip_bad, download)
    choice.check()
    check_output(save_log_likelihoods, "--save-log-likelihoods")
    with shared_work() as processes:
        with processes.together():
            loaded = load_model(model, device, raw_weights=raw_weights, local_rank=processes.local_rank)
            images, config = choice.load(loaded)
        with console.activity("scoring") as progress:
            result = evaluate_model(
                loaded.model,
                images,
                prior=chosen_prior,
                views=views,
                batch_size=batch_size,
                processes=processes,
                progress=progress,
            )
        calibration = None
        with processes.together():
            result.density.require_finite()
            if processes.is_main and save_log_likelihoods is not None:
                _save_log_likelihoods(save_log_likelihoods, result, images)
            if calibrate is not None:
                calibration = _fit_calibration(loaded, images, result, chosen_prior)
                if processes.is_main:
                    _store_calibration(loaded, calibration)
    if result.missing:
        console.warn(result.missing)
    if json:
        about = {"model": str(loaded.path), "dataset": images.name, "split": images.split, "n_images": len(images)}
        rest = {
            "views": views,
            "classes": list(images.classes or loaded.config.model.classes),
            "data": config and dataclasses.asdict(config),
            "calibration": calibration and dataclasses.asdict(calibration),
        }
        console.write_json(about | document(result) | rest)
        return
    from cpixelcnn.cli.tables import calibration_table, confusion_table, evaluation_table

    console.print_result(evaluation_table(choice.title(images), result))
    if result.scores is not None:
        console.print_result(confusion_table(result.scores, images.classes or loaded.config.model.classes))
    if calibration is not None:
        console.print_result(calibration_table(calibration))


def document(evaluation: Evaluation) -> dict[str, Any]:
    """What an evaluation found, for scripts; None is what there is not."""
    scores, density = evaluation.scores, evaluation.density
    return {
        "accuracy": scores and scores.accuracy,
        "accuracy_ci95": scores and list(scores.accuracy_ci95),
        "f1_macro": scores and scores.f1_macro,
        "confusion": scores and scores.confusion.tolist(),
        "bpd": density.bpd,
        "bpd_marginal": density.bpd_marginal,
        "bpd_stderr": density.stderr,
        "bpd_per_class": list(density.per_class) or None,
        "nll_posterior": scores and scores.nll_posterior,
        "ece": scores and scores.ece,
        "brier": scores and scores.brier,
        "precision": scores and list(scores.precision),
        "recall": scores and list(scores.recall),
        "prior": list(evaluation.prior) or None,
    }


def _save_log_likelihoods(path: Path, result: Evaluation, images: ImageSet) -> None:
    from cpixelcnn.evaluation.log_likelihoods import save_log_likelihoods

    if result.classification is None:
        raise CheckpointError("--save-log-likelihoods needs a class-conditional model; this one knows no classes")
    with writing(path, "--save-log-likelihoods"):
        save_log_likelihoods(path, result.classification.log_likelihoods, images)


def _fit_calibration(loaded: LoadedModel, images: ImageSet, result: Evaluation, prior: Prior) -> Calibration:
    """Fit a temperature to what was just computed."""
    from cpixelcnn.evaluation.calibration import fit_calibration

    if result.log_likelihoods is None:
        raise ConfigError("--calibrate needs a class-conditional model; this one knows no classes")
    views = len(result.log_likelihoods)
    return fit_calibration(loaded.config.model, images, result.log_likelihoods, prior=prior, views=views)


def _store_calibration(loaded: LoadedModel, calibration: Calibration) -> None:
    from cpixelcnn.evaluation.calibration import save_calibration

    try:
        console.info(f"stored     {save_calibration(loaded.path, calibration)}")
    except OSError as error:
        raise CheckpointError(
            f"the calibration cannot be stored beside {loaded.path} ({error.strerror}); copy the model to a "
            "folder of your own and name it with --model"
        ) from None
