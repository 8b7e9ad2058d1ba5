"""One way from a `--model` argument to a model: by run directory, checkpoint, weight file, or name."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import torch

from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError, did_you_mean
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

# Of the shipped models, the one whose data set can be drawn anywhere, and the one that has seen photographs.
DEFAULT_MODEL, PHOTOGRAPHS_MODEL = "tiny", "small"

_log = logging.getLogger(__name__)


def load(reference: str | Path | None = None, *, ema: bool = True, device: torch.device | str = "cpu") -> PixelCNN:
    """Load a model in evaluation mode.

    Args:
        reference: a run directory (its best checkpoint is taken), a checkpoint directory, a weight file or the name
            of a shipped model; by default the newest finished run under runs/, else the shipped model.
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
    reference: str | Path | None = None, *, ema: bool = True, runs: Path = RUNS, default: str = DEFAULT_MODEL
) -> ModelFile:
    """Resolve a model by run directory, checkpoint directory, weight file or name of a run or a shipped model.

    Without a reference: the best checkpoint of the newest finished run under `runs`, else the shipped model `default`.

    Raises:
        CheckpointError: nothing of that name, or nothing undamaged in it.
    """
    shipped = shipped_models()
    if reference is None:
        return _by_default(ema, runs, default)
    path = Path(reference)
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
    for manifest in runs.glob(f"*/last/{MANIFEST}"):
        run = manifest.parent.parent
        try:
            if finished and not read_manifest(run / "last").get("finished"):
                continue
            found.append((manifest.stat().st_mtime, run))
        except (CheckpointError, OSError):
            continue
    return [run for _, run in sorted(found, reverse=True)]


def _by_default(ema: bool, runs: Path, name: str) -> ModelFile:
    """The newest finished run that has a usable checkpoint, else a shipped model, if possible that of this name."""
    warnings: list[str] = []
    for run in _newest_runs(runs, finished=True):
        try:
            found = _in_run(run, ema, "newest finished run")
        except CheckpointError as error:
            warnings.append(f"{error}; another model is taken")
            continue
        return replace(found, warnings=(*warnings, *found.warnings))
    shipped = shipped_models()
    if not shipped:
        detail = "".join(f" ({warning})" for warning in warnings)
        raise CheckpointError(
            f"there is no finished run under runs/ and no shipped model{detail}; train one, or pass --model"
        )
    name = name if name in shipped else next(iter(shipped))
    return ModelFile(shipped[name], f"shipped model {name!r} (no finished run under {runs}/)", tuple(warnings))


def _in_run(run: Path, ema: bool, kind: str) -> ModelFile:
    """The best checkpoint of a run; where that is damaged the last one, and the others from the newest on."""
    warnings: list[str] = []
    candidates = [run / "best", run / "last", *reversed(checkpoint_paths(run))]
    for checkpoint in dict.fromkeys(path.resolve() for path in candidates if path.is_dir()):
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
