"""What comes before the first step: do images and model fit, and a model with its average and optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.splits import balanced_subset
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.randomness import derive_seed
from cpixelcnn.training.checkpoint import TrainProgress, TrainState, restore
from cpixelcnn.training.ema import ExponentialMovingAverage
from cpixelcnn.training.optimiser import make_optimiser

INITIALISING_IMAGES = 64


def prepare(
    config: RunConfig,
    train_set: ImageSet,
    device: torch.device,
    checkpoint: Path | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> TrainState:
    """A model with its average and optimiser.

    Args:
        config: of the run.
        train_set: initialises a model that starts from nothing (data-dependent initialisation).
        device: where to put it.
        checkpoint: continue from this one.
        weights: without a checkpoint, start a new clock from these.
    """
    options = config.train
    torch.manual_seed(derive_seed(options.seed, "weights"))
    model = PixelCNN(config.model).to(device).to(memory_format=torch.channels_last)
    if checkpoint is None and weights is not None:
        model.load_state_dict(weights)
    elif checkpoint is None:
        few = balanced_subset(train_set.labels, INITIALISING_IMAGES)
        model.initialise(train_set.images[few].to(device), train_set.labels[few].to(device))
    model.recompute_activations(options.recompute_activations)
    ema = ExponentialMovingAverage(model, options.ema_decay)
    optimiser = make_optimiser(model, options)
    trainee = TrainState(model, ema, optimiser, TrainProgress())
    if checkpoint is not None:
        restore(checkpoint, trainee)
        for group in optimiser.param_groups:
            # These may change when a run goes on.
            group["betas"] = (options.beta1, options.beta2)
            group["fused"] = optimiser.defaults["fused"]
    return trainee


def check_images(config: RunConfig, train_set: ImageSet, validation_set: ImageSet) -> None:
    """Refuse images that the model cannot be trained on or validated with.

    Raises:
        DataError: there are none, or labels are missing.
        ConfigError: their classes are not the model's.
    """
    for image_set, purpose in ((train_set, "training a conditional model"), (validation_set, "validating it")):
        if len(image_set) == 0:
            raise DataError(f"{image_set.name} ({image_set.split}) has no images; check --data-dir")
        if config.model.conditional:
            image_set.require_labels(purpose)
            if image_set.classes != config.model.classes:
                raise ConfigError(
                    f"the model has the classes {', '.join(config.model.classes)}, but {image_set.name} "
                    f"({image_set.split}) has {', '.join(image_set.classes)}; choose the data set it was made for"
                )
    if config.train.balanced:
        train_set.require_labels("--balanced")
