"""One way from a `--model` argument to a model: by run directory, checkpoint, weight file, or name."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import torch

from cpixelcnn.config import DataConfig, RunConfig
from cpixelcnn.errors import CheckpointError, ConfigError, did_you_mean
from cpixelcnn.foreign_files import UnreadableFileError, read_json_object
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import build_model, load_weights, read_config
from cpixelcnn.runs.layout import (
    CHECKPOINTS,
    EMA_WEIGHTS,
    FILES,
    MANIFEST,
    RUNS,
    WEIGHTS,
    checkpoint_paths,
    read_manifest,
    verify_checkpoint,
)
from cpixelcnn.runs.pointers import BEST, LAST, followed, pointed

# Of the shipped models, the one whose data set can be drawn anywhere, and the one that has seen photographs, by the
# data sets that each is for.
DEFAULT_MODEL, PHOTOGRAPHS_MODEL = "tiny", "small-crops"
_SHIPPED_FOR = {"embedded": DEFAULT_MODEL, "cpen455": PHOTOGRAPHS_MODEL, "folder": PHOTOGRAPHS_MODEL}

_log = logging.getLogger(__name__)


def load(reference: str | Path | None = None, *, ema: bool = True, device: torch.device | str = "cpu") -> PixelCNN:
    """Load a model in evaluation mode.

    Args:
        reference: a run directory (its best checkpoint is taken), a checkpoint directory, a weight file or the name
            of a shipped model; by default the newest finished run under runs/, else the shipped model "tiny".
        ema: the moving average of the weights rather than the weights themselves.
        device: where to put it.

    Raises:
        CheckpointError: nothing of that name, or nothing undamaged.
    """
    found = find_model(reference, ema=ema)
    for warning in found.warnings:
        _log.warning(warning)
    return load_found(found, device)[0]


def load_found(found: ModelFile, device: torch.device | str) -> tuple[PixelCNN, RunConfig]:
    """Build the model of a weight file that was found, with the configuration of the run that made it."""
    config, state = load_weights(found.path)
    model = build_model(config, state, found.path)
    return model.to(device).to(memory_format=torch.channels_last), config


@dataclass(frozen=True)
class ModelFile:
    """The weight file that a `--model` argument means.

    Attributes:
        path: the weight file.
        description: what was chosen and why, for people.
        warnings: damaged checkpoints that were passed over.
    """

    path: Path
    description: str
    warnings: tuple[str, ...] = ()


def shipped_models() -> dict[str, Path]:
    """Weight files that come with the package, by name."""
    directory = Path(str(resources.files("cpixelcnn"))) / "pretrained"
    return {path.stem: path for path in sorted(directory.glob("*.safetensors"))}


def find_model(
    reference: str | Path | None = None,
    *,
    ema: bool = True,
    runs: Path = RUNS,
    dataset: str | None = None,
    images: Sequence[str | Path] | None = None,
    fallback: str | None = None,
) -> ModelFile:
    """Resolve a model by run directory, checkpoint directory, weight file or name of a run or a shipped model.

    Without a reference it depends on what the model is for:

    - for `images` of the user's own, the newest finished run whose data directory they all lie in, else the shipped
      model of photographs: a run of other images, however new, knows nothing of them;
    - for a `dataset`, the newest finished run that was trained on it, else the shipped model that suits it;
    - else the newest finished run, else the shipped model `fallback`, by default the one whose data set can be drawn
      anywhere.

    Args:
        reference: the model; None for the default.
        ema: the moving average of the weights rather than the weights themselves.
        runs: where runs are looked for by name, and by default.
        dataset: name of the data set that the model is to score.
        images: files and folders that the model is to look at.
        fallback: name of the shipped model where no run suits.

    Raises:
        CheckpointError: nothing of that name, or nothing undamaged in it.
    """
    shipped = shipped_models()
    if reference is None:
        name = PHOTOGRAPHS_MODEL if images is not None else fallback or _SHIPPED_FOR.get(dataset or "", DEFAULT_MODEL)
        return _by_default(name, ema, runs, dataset, images)
    path = Path(reference)
    if path.name in (BEST, LAST) and os.path.isfile(path):
        path = followed(path)
    if os.path.isfile(path):  # unlike Path.is_file, no error for a name that is too long
        if path.name in FILES and os.path.lexists(path.parent / MANIFEST):
            verify_checkpoint(path.parent, only=(path.name,))
        return ModelFile(path, f"weight file {path}")
    if os.path.isdir(path / CHECKPOINTS):
        return _in_run(path, ema, "run")
    if os.path.isfile(path / WEIGHTS) or os.path.isfile(path / MANIFEST):
        return ModelFile(weights_in(path, ema), f"checkpoint {path}")
    if str(reference) in shipped:
        return ModelFile(shipped[str(reference)], f"shipped model {str(reference)!r}")
    if os.path.isdir(path):
        raise CheckpointError(f"{path} is neither a run nor a checkpoint directory; check --model")
    if os.path.isdir(runs / path / CHECKPOINTS):
        return _in_run(runs / path, ema, "run")
    known = [*shipped, *sorted(run.name for run in runs.glob("*") if os.path.isdir(run / CHECKPOINTS))]
    raise CheckpointError(f"there is no model {str(reference)!r}; {did_you_mean(str(reference), known, 'there are')}")


def run_of(weights: Path) -> Path | None:
    """The run directory that a weight file lies in, None where it lies elsewhere."""
    checkpoints = weights.parent.parent
    return checkpoints.parent if checkpoints.name == CHECKPOINTS else None


def model_name(weights: Path) -> str:
    """A short name of a model for titles.

    >>> model_name(Path("runs/first/checkpoints/step-00012000/ema.safetensors"))
    'first, step-00012000'
    >>> model_name(Path("elsewhere/small.safetensors"))
    'small'
    """
    run = run_of(weights)
    return weights.stem if run is None else f"{run.name}, {weights.parent.name}"


def newest_run(runs: Path = RUNS) -> Path | None:
    """The run under `runs` whose last checkpoint is the newest, or None."""
    return next(iter(_newest_runs(runs, finished=False)), None)


def _newest_runs(runs: Path, *, finished: bool) -> list[Path]:
    """The runs under `runs` (the finished ones only, if asked), that with the newest last checkpoint first."""
    found = []
    for run in runs.glob("*"):
        try:
            last = pointed(run, LAST)
            if last is None or (finished and not read_manifest(last).get("finished")):
                continue
            found.append(((last / MANIFEST).stat().st_mtime, run))
        except (CheckpointError, OSError):
            continue
    return [run for _, run in sorted(found, reverse=True)]


def _by_default(
    name: str, ema: bool, runs: Path, dataset: str | None, images: Sequence[str | Path] | None
) -> ModelFile:
    """The model for that purpose, else the shipped one of that name; damaged runs are passed over."""
    warnings: list[str] = []
    newest = _newest_runs(runs, finished=True)
    for run in newest:
        if not _suits(run, dataset, images):
            continue
        kind = "newest finished run" if images is None else "newest run on images of that folder,"
        kind += f" on {dataset}" if dataset else ""
        try:
            found = _in_run(run, ema, kind)
        except CheckpointError as error:
            warnings.append(f"{error}; another model is taken")
            continue
        return replace(found, warnings=(*warnings, *found.warnings))
    return _shipped_default(name, runs, newest, dataset, images, tuple(warnings))


def _shipped_default(
    name: str,
    runs: Path,
    newest: list[Path],
    dataset: str | None,
    images: Sequence[str | Path] | None,
    warnings: tuple[str, ...],
) -> ModelFile:
    """A shipped model, if possible that of this name, with the reason."""
    shipped = shipped_models()
    if not shipped:
        detail = "".join(f" ({warning})" for warning in warnings)
        raise CheckpointError(
            f"there is no finished run under {runs}/ and no shipped model{detail}; train one, or pass --model"
        )
    reason = f"no finished run under {runs}/"
    if newest and images is not None:
        reason = f"for photographs; for your newest run pass --model {newest[0].name}"
    elif newest and dataset:
        reason = f"no finished run on {dataset} under {runs}/"
    elif images is not None:
        reason = "for photographs"
    name = name if name in shipped else next(iter(shipped))
    return ModelFile(shipped[name], f"shipped model {name!r} ({reason})", warnings)


def _suits(run: Path, dataset: str | None, images: Sequence[str | Path] | None) -> bool:
    """Whether a run was trained on that data set, or on the folder that all these images lie in."""
    if dataset is None and images is None:
        return True
    try:
        data = DataConfig.from_json(read_json_object(run / "config.json").get("data", {}))
    except (UnreadableFileError, ConfigError):
        return False
    if images is None:
        return data.dataset == dataset
    if data.data_dir is None or not images or "-" in map(str, images):
        return False
    folder = Path(os.path.realpath(data.data_dir))
    return all(Path(os.path.realpath(image)).is_relative_to(folder) for image in images)


def _in_run(run: Path, ema: bool, kind: str) -> ModelFile:
    """The best checkpoint of a run; where that is damaged the last one, and the others from the newest on."""
    warnings: list[str] = []
    candidates = [pointed(run, BEST), pointed(run, LAST), *reversed(checkpoint_paths(run))]
    for checkpoint in dict.fromkeys(path.resolve() for path in candidates if path is not None):
        try:
            weights = weights_in(checkpoint, ema)
        except CheckpointError as error:
            warnings.append(str(error))
            continue
        kept = "EMA" if weights.name == EMA_WEIGHTS else "raw"
        return ModelFile(weights, f"{kind} {run}, checkpoint {checkpoint.name}, {kept} weights", tuple(warnings))
    detail = f": {'; '.join(warnings)}" if warnings else ""
    raise CheckpointError(f"{run} holds no usable checkpoint{detail}")


def weights_in(checkpoint: Path, ema: bool) -> Path:
    """The weight file of a checkpoint; its digest and its header are compared with what they should be.

    Raises:
        CheckpointError: it is damaged.
    """
    name = EMA_WEIGHTS if ema else WEIGHTS
    verify_checkpoint(checkpoint, only=(name,))
    read_config(checkpoint / name)
    return checkpoint / name
