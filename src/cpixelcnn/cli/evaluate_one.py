"""`cpixelcnn eval` of one model: its scores, a temperature for it, and pictures of what was found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cpixelcnn.cli import console
from cpixelcnn.cli.findings import find_all
from cpixelcnn.cli.images_to_score import ImageChoice
from cpixelcnn.cli.learned import store
from cpixelcnn.cli.output_files import writing
from cpixelcnn.cli.pictures import PictureOptions, draw_pictures
from cpixelcnn.cli.scoring import Scoring, document
from cpixelcnn.cli.setup import LoadedModel, shared_work
from cpixelcnn.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.calibration import Calibration
    from cpixelcnn.evaluation.evaluate import Evaluation


@dataclass(frozen=True)
class OneModelOutput:
    """What is wanted of one model besides its scores.

    Attributes:
        calibrate: whether a temperature is fitted to the images and stored.
        log_likelihoods: a file for log p(x | c) of every image under every class.
        pictures: pictures and the page.
        json: whether the JSON document is printed instead of tables.
    """

    calibrate: bool
    log_likelihoods: Path | None
    pictures: PictureOptions
    json: bool


def evaluate_one(model: str | None, choice: ImageChoice, scoring: Scoring, output: OneModelOutput) -> None:
    """Score a model; process 0 writes what is wanted."""
    with shared_work() as processes:
        with processes.together():
            if processes.is_main:
                output.pictures.check()
            loaded = scoring.load(model, processes, choice.dataset)
            images, config = choice.load(loaded)
        result = scoring.score(loaded, images, processes)
        calibration = None
        with processes.together():
            if processes.is_main and output.log_likelihoods is not None:
                _save_log_likelihoods(output.log_likelihoods, result, images)
            if output.calibrate:
                calibration = _calibrate(loaded, images, result, scoring, processes)
        if output.pictures:
            findings = find_all(
                loaded,
                images,
                result,
                data=choice.title(images),
                calibration=calibration,
                batch_size=scoring.batch_size,
                processes=processes,
            )
            with processes.together():
                if processes.is_main:
                    draw_pictures(output.pictures, findings, config)
    if result.missing:
        console.warn(result.missing)
    if output.json:
        about = {"model": str(loaded.path), "dataset": images.name, "split": images.split, "n_images": len(images)}
        rest = {
            "views": scoring.views,
            "classes": list(images.classes or loaded.config.model.classes),
            "data": config and dataclasses.asdict(config),
            "calibration": calibration and dataclasses.asdict(calibration),
        }
        console.write_json(about | document(result) | rest)
        return
    _show(choice.title(images), loaded, images, result, calibration)


def _save_log_likelihoods(path: Path, result: Evaluation, images: ImageSet) -> None:
    from cpixelcnn.evaluation.log_likelihoods import save_log_likelihoods

    if result.classification is None:
        raise CheckpointError("--save-log-likelihoods needs a class-conditional model; this one knows no classes")
    with writing(path, "--save-log-likelihoods"):
        save_log_likelihoods(path, result.classification.log_likelihoods, images)


def _calibrate(
    loaded: LoadedModel, images: ImageSet, result: Evaluation, scoring: Scoring, processes: Processes
) -> Calibration:
    """Fit a temperature to what was just computed; process 0 stores it."""
    from cpixelcnn.evaluation.calibration import CALIBRATIONS, fit_calibration

    if result.log_likelihoods is None:
        raise ConfigError("--calibrate needs a class-conditional model; this one knows no classes")
    calibration = fit_calibration(
        loaded.config.model, images, result.log_likelihoods, prior=scoring.prior, views=result.views
    )
    if processes.is_main:
        store(loaded, CALIBRATIONS, calibration)
    return calibration


def _show(
    title: str, loaded: LoadedModel, images: ImageSet, result: Evaluation, calibration: Calibration | None
) -> None:
    from cpixelcnn.cli.tables import calibration_table, confusion_table, evaluation_table

    console.print_result(evaluation_table(title, result))
    if result.scores is not None:
        console.print_result(confusion_table(result.scores, images.classes or loaded.config.model.classes))
    if calibration is not None:
        console.print_result(calibration_table(calibration))
