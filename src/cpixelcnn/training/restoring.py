"""What a checkpoint holds for a training that goes on, read without trust.

The file may come from a program with a fault, or from somebody who means harm. Adam's kernels walk through the moments
as if these had the layout of their parameters, and would read and write beyond smaller ones. So names, shapes, types
and values are compared with what the model needs before any of them is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError, first_line
from cpixelcnn.foreign_files import WEIGHT_BYTES, UnreadableFileError, read_pickled
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import load_weights
from cpixelcnn.runs.layout import EMA_WEIGHTS, TRAINER, WEIGHTS
from cpixelcnn.training.state import TrainProgress, TrainState

_MOMENTS = ("exp_avg", "exp_avg_sq")
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class StoredTraining:
    """The content of a checkpoint, which fits a model of its configuration.

    Attributes:
        config: of the run.
        weights, average: of the model and of its moving average, by name.
        moments: Adam's step, first and second moments, by the number of the parameter; empty before the first step.
        progress: where the training is.
    """

    config: RunConfig
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    moments: dict[int, dict[str, Tensor]]
    progress: TrainProgress


def restore(checkpoint: Path, state: TrainState) -> None:
    """Load weights, average, optimiser and progress into the state of a model of the same architecture.

    The optimiser's options are not the checkpoint's but those that it was made with; its learning rate is the last
    step's.

    Raises:
        CheckpointError: a part does not fit or holds anything but plain types and tensors.
    """
    stored = read_training(checkpoint, state.model)
    state.model.load_state_dict(stored.weights)
    state.ema.model.load_state_dict(stored.average)
    parameters = dict(enumerate(state.model.parameters()))
    moments = {
        number: {
            "step": own["step"].detach().clone(),
            **{name: _laid_out_as(parameters[number], own[name]) for name in _MOMENTS},
        }
        for number, own in stored.moments.items()
    }
    state.optimiser.load_state_dict({**state.optimiser.state_dict(), "state": moments})
    if stored.progress.step:
        for group in state.optimiser.param_groups:
            group["lr"] = stored.progress.lr  # as the last step left it: saved again, the checkpoint is the same
    state.progress = stored.progress


def read_training(checkpoint: Path, model: PixelCNN | None = None) -> StoredTraining:
    """Read a checkpoint and compare all of it with a model, by default one of the checkpoint's own configuration.

    Raises:
        CheckpointError: a part is missing, does not fit, is not finite, or holds anything but plain types and tensors.
    """
    try:
        config, weights = load_weights(checkpoint / WEIGHTS)
        _, average = load_weights(checkpoint / EMA_WEIGHTS)
        stored = read_pickled(checkpoint / TRAINER, WEIGHT_BYTES)
        if model is None:
            with torch.device("meta"):  # shapes without memory
                model = PixelCNN(config.model)
        for tensors in (weights, average):
            _check_tensors(tensors, model.state_dict())
        moments = checked_moments(_part(stored, "optimiser"), list(model.parameters()))
        progress = checked_progress(_part(stored, "progression"))
    except CheckpointError:
        raise
    except Exception as error:  # whatever the content makes the checks raise
        reason = error.reason if isinstance(error, UnreadableFileError) else first_line(error)
        raise CheckpointError(f"{checkpoint} cannot be resumed from ({reason})") from None
    return StoredTraining(config, weights, average, moments, progress)


def _part(stored: object, name: str) -> dict[Any, Any]:
    """An object within another one."""
    part = stored.get(name) if isinstance(stored, dict) else None
    if not isinstance(part, dict):
        raise ValueError(f"{TRAINER} has no object {name!r}")
    return part


def _check_tensors(tensors: Mapping[str, object], expected: Mapping[str, Tensor]) -> None:
    """Refuse names, shapes or types other than the expected ones, and numbers that are not finite."""
    if tensors.keys() != expected.keys():
        raise ValueError(f"tensors are missing or too many: {sorted(map(str, tensors.keys() ^ expected.keys()))[:3]}")
    for name, like in expected.items():
        tensor = tensors[name]
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{name} is not a tensor")
        if tensor.shape != like.shape or tensor.dtype != like.dtype:
            raise ValueError(f"{name} is {_kind(tensor)}, and the model needs {_kind(like)}")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} is not finite")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def checked_moments(stored: Mapping[str, Any], parameters: list[torch.nn.Parameter]) -> dict[int, dict[str, Tensor]]:
    """Adam's state of all parameters or of none, from the stored state of the optimiser.

    Raises:
        ValueError: it is not that.
    """
    moments = _part(stored, "state")
    if moments and list(moments) != list(range(len(parameters))):
        raise ValueError(f"the optimiser has the state of {len(moments)} tensors, and the model has {len(parameters)}")
    scalar = torch.zeros(())
    for number, parameter in enumerate(parameters if moments else []):
        own = moments[number]
        if not isinstance(own, dict):
            raise ValueError(f"the optimiser's state of tensor {number} is not an object")
        _check_tensors(own, {"step": scalar, **dict.fromkeys(_MOMENTS, parameter.data)})
        if own["step"] < 0 or (own["exp_avg_sq"] < 0).any():
            raise ValueError(f"the optimiser's state of tensor {number} is negative")
    return dict(moments)


def _laid_out_as(parameter: Tensor, moment: Tensor) -> Tensor:
    """The same numbers at the places in memory where the kernels look for them."""
    return torch.empty_like(parameter, requires_grad=False).copy_(moment.detach())


def checked_progress(stored: Mapping[str, Any]) -> TrainProgress:
    """The progress from its stored fields; those that an earlier version did not know have their defaults.

    Raises:
        ValueError: a field is unknown, has a value that it cannot have, or contradicts another one.
    """
    names = {field.name for field in fields(TrainProgress)}
    if not stored.keys() <= names:
        raise ValueError(f"the progress has unknown fields: {sorted(map(str, stored.keys() - names))[:3]}")
    default = TrainProgress()
    for name, value in stored.items():
        if not _can_be(getattr(default, name), value, lowest=-1 if name == "best_step" else 0):
            raise ValueError(f"the progress cannot have {name} {str(value)[:40]}")
    progress = TrainProgress(**stored)
    begun = progress.images_seen - progress.epoch * progress.train_images  # images of the running epoch
    if not 0 <= begun <= progress.train_images or progress.epoch_images > begun:
        raise ValueError(
            f"the progress contradicts itself: {progress.images_seen} images seen, but {progress.epoch} epochs of "
            f"{progress.train_images} are complete"
        )
    return progress


def _can_be(default: object, value: object, lowest: int) -> bool:
    """Whether a field with this default can have this value."""
    if isinstance(default, int):
        return type(value) is int and lowest <= value <= _LARGEST
    if isinstance(default, float):
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    if isinstance(default, dict):
        return isinstance(value, dict) and all(
            isinstance(name, str) and _can_be(0.0, number, lowest) for name, number in value.items()
        )
    return isinstance(value, str)
