"""The models that there are: those that come with the package, and the runs under a directory."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError
from cpixelcnn.foreign_files import UnreadableFileError, read_json_object
from cpixelcnn.model.weights import network_shapes, read_config
from cpixelcnn.runs import models
from cpixelcnn.runs.layout import CHECKPOINTS, RUNS, read_manifest, read_results
from cpixelcnn.runs.metrics_log import METRICS, read_records

SHIPPED_METRICS = "models.json"  # beside the shipped models: their entries but for what the weights tell


@dataclass(frozen=True)
class ModelEntry:
    """One model, as far as it is known; None stands for what is not.

    Attributes:
        name: what `--model` and `load` call it.
        kind: "shipped" or "run".
        path: the weight file, or the directory of a run that has no usable one.
        problem: why it cannot be used; None where it can.
        finished: whether the training has ended; None for shipped models.
        dataset: what it was trained on.
        nr_classes: 0 for an unconditional model.
        image_size: height and width, in pixels.
        architecture: residual blocks/filters/logistics.
        parameters: how many weights it has.
        bytes: size of the weight file.
        epochs: how long it was trained, up to the checkpoint that is taken.
        date: of that checkpoint, as ISO 8601.
        split: on which accuracy and bits/dim were found: "test" where that was evaluated, else "validation".
        n_images: in that split.
        accuracy: a fraction.
        bpd: bits per dimension, the class given (marginal for an unconditional model).
    """

    name: str
    kind: str
    path: Path
    problem: str | None = None
    finished: bool | None = None
    dataset: str | None = None
    nr_classes: int | None = None
    image_size: tuple[int, int] | None = None
    architecture: str | None = None
    parameters: int | None = None
    bytes: int | None = None
    epochs: int | None = None
    date: str | None = None
    split: str | None = None
    n_images: int | None = None
    accuracy: float | None = None
    bpd: float | None = None


def list_models(runs: Path | str = RUNS) -> list[ModelEntry]:
    """The shipped models and the runs under a directory, with what they reached; damaged ones have a `problem`.

    Args:
        runs: the directory that holds the run directories.

    Returns:
        The shipped models by name, then the runs by name.
    """
    directory = Path(runs)
    found = [run for run in sorted(directory.glob("*")) if (run / CHECKPOINTS).is_dir()] if directory.is_dir() else []
    shipped = models.shipped_models()
    return [_shipped(name, path) for name, path in shipped.items()] + [_run(run) for run in found]


def _shipped(name: str, path: Path) -> ModelEntry:
    try:
        metrics = read_json_object(path.with_name(SHIPPED_METRICS)).get(name)
    except UnreadableFileError:
        metrics = None
    try:
        return ModelEntry(name, "shipped", path, **_weights(path), **_metrics(metrics))
    except CheckpointError as error:
        return ModelEntry(name, "shipped", path, problem=str(error))


def _run(run: Path) -> ModelEntry:
    try:
        weights = models.find_model(run).path
        manifest = read_manifest(weights.parent)
        finished = bool(read_manifest(run / "last").get("finished"))
        epoch, saved = manifest.get("epoch"), manifest.get("saved_at")
        return ModelEntry(
            run.name,
            "run",
            weights,
            finished=finished,
            **_weights(weights),
            **_metrics({"epochs": epoch, "date": saved, **_results(run, epoch)}),
        )
    except (CheckpointError, OSError) as error:
        return ModelEntry(run.name, "run", run, problem=str(error))


def _weights(path: Path) -> dict[str, Any]:
    """What a weight file tells of itself."""
    config: RunConfig = read_config(path)
    model = config.model
    return {
        "dataset": config.data.dataset,
        "nr_classes": model.nr_classes if model.conditional else 0,
        "image_size": (model.image_height, model.image_width),
        "architecture": f"{model.nr_resnets}/{model.nr_filters}/{model.nr_logistic_mix}",
        "parameters": sum(math.prod(shape) for shape in network_shapes(model).values()),
        "bytes": path.stat().st_size,
    }


def _results(run: Path, epoch: object) -> dict[str, Any]:
    """What a run's best checkpoint reached on the test split, or else in the validation of its epoch."""
    test = read_results(run).get("test")
    if isinstance(test, dict):
        return {**test, "split": "test", "bpd": test.get("bpd") or test.get("bpd_marginal")}
    for record in read_records(run / METRICS)[0]:
        if record.epoch == epoch and record.validation_images is not None:
            bits = record.validation_bpd_marginal if record.validation_bpd is None else record.validation_bpd
            found = {"n_images": record.validation_images, "accuracy": record.accuracy, "bpd": bits}
            return {**found, "split": "validation"}
    return {}


def _metrics(values: object) -> dict[str, Any]:
    """Those of the values that have the type of their attribute, and are numbers that a float can be."""
    kinds: Mapping[str, tuple[type, ...]] = {
        "epochs": (int,),
        "date": (str,),
        "split": (str,),
        "n_images": (int,),
        "accuracy": (float, int),
        "bpd": (float, int),
    }
    given = values if isinstance(values, dict) else {}
    typed = {name: given[name] for name, kind in kinds.items() if type(given.get(name)) in kind}
    return {name: value for name, value in typed.items() if isinstance(value, str) or abs(value) <= sys.float_info.max}
