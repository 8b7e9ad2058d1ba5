"""`cpixelcnn eval`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.checkpoints import CheckpointOutput, score_run
from cpixelcnn.cli.compare import compare_models
from cpixelcnn.cli.findings import find_all
from cpixelcnn.cli.images_to_score import ImageChoice
from cpixelcnn.cli.output_files import check_output, writing
from cpixelcnn.cli.pictures import Map, PictureOptions, Report, draw_pictures
from cpixelcnn.cli.scoring import Scoring, document
from cpixelcnn.cli.setup import LoadedModel, parse_prior, shared_work
from cpixelcnn.cli.unfamiliar import tell_unfamiliar
from cpixelcnn.cli.unfamiliar_options import (
    MAX_IMAGES,
    FitThreshold,
    LocalModel,
    MaxImages,
    ScoreNames,
    Unfamiliar,
    UnfamiliarOptions,
    parse_scores,
)
from cpixelcnn.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.evaluation.calibration import Calibration
    from cpixelcnn.evaluation.evaluate import Evaluation
    from cpixelcnn.evaluation.priors import Prior

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


def evaluate(
    runs: Runs = None,
    model: Models = None,
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
    all_checkpoints: AllCheckpoints = False,
    fid: Fid = None,
    csv: Csv = None,
    map: Map = None,
    plots: o.Plots = None,
    report: Report = None,
    unfamiliar: Unfamiliar = None,
    scores: ScoreNames = "png,webp",
    local_model: LocalModel = None,
    fit_threshold: FitThreshold = None,
    max_images: MaxImages = MAX_IMAGES,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Score a model on a labelled split or on samples: accuracy, F1, confusion, calibration and bits per dimension.

    Several models are laid side by side and compared image by image. Under torchrun the images are divided among the
    processes.
    """
    from cpixelcnn.evaluation.calibration import find_calibration
    from cpixelcnn.evaluation.views import check_views

    scoring = Scoring(parse_prior(prior), views, batch_size, device, raw_weights)
    check_views(views)
    if calibrate is not None and (samples is not None or split != "auto"):
        raise ConfigError("--calibrate names the split to score; leave out --samples and --split")
    choice = ImageChoice(samples, calibrate or split, dataset, data_dir, skip_bad, download)
    choice.check()
    check_output(save_log_likelihoods, "--save-log-likelihoods")
    pictures = PictureOptions(map, plots, report)
    models = [*(runs or []), *(model or [])]
    for_one = {"--calibrate": calibrate, "--save-log-likelihoods": save_log_likelihoods}
    for_one |= {"--map": map, "--report": report}
    if all_checkpoints:
        if len(models) > 1:
            raise ConfigError("--all-checkpoints is for one run; name one")
        refuse_for("one model", for_one)
        score_run(models[0] if models else None, choice, scoring, CheckpointOutput(fid, csv, plots, json))
        return
    if unfamiliar or fit_threshold:
        if len(models) > 1:
            raise ConfigError("--unfamiliar and --fit-threshold are for one model; name one")
        refuse_for("one model and its own scores", for_one | {"--samples": samples, "--plots": plots})
        strangers = UnfamiliarOptions(
            unfamiliar or (), parse_scores(scores, local_model), local_model, fit_threshold, max_images
        )
        tell_unfamiliar(models[0] if models else None, choice, scoring, strangers, json=json)
        return
    refuse_for("--unfamiliar", {"--local-model": local_model})
    refuse_for("--all-checkpoints", {"--fid": fid, "--csv": csv})
    if len(models) > 1:
        refuse_for("one model", {**for_one, "--plots": plots})
        compare_models(models, choice, scoring, json=json)
        return
    with shared_work() as processes:
        with processes.together():
            if processes.is_main:
                pictures.check()
            loaded = scoring.load(models[0] if models else None, processes, choice.dataset)
            images, config = choice.load(loaded)
        result = scoring.score(loaded, images, processes)
        calibration = None
        with processes.together():
            if processes.is_main and save_log_likelihoods is not None:
                _save_log_likelihoods(save_log_likelihoods, result, images)
            if calibrate is not None:
                calibration = _fit_calibration(loaded, images, result, scoring.prior)
                if processes.is_main:
                    _store_calibration(loaded, calibration)
        if pictures:
            with processes.together():
                stored = calibration or find_calibration(loaded.path)
            findings = find_all(
                loaded,
                images,
                result,
                data=choice.title(images),
                calibration=stored,
                batch_size=batch_size,
                processes=processes,
            )
            with processes.together():
                if processes.is_main:
                    draw_pictures(pictures, findings, config)
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


def refuse_for(what: str, options: Mapping[str, object]) -> None:
    """Refuse options that are given although they are for something else.

    Raises:
        ConfigError: names them.
    """
    if named := [flag for flag, value in options.items() if value not in (None, False)]:
        raise ConfigError(f"{', '.join(named)}: for {what} only; leave out what is not")


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
