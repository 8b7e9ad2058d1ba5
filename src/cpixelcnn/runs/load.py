"""From a `--model` argument to a model that is ready for use."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from cpixelcnn.config import RunConfig
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.runs.layout import ModelFile, find_model
from cpixelcnn.runs.weights import build_model, load_weights

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
