"""The state of a training: the model, the moving average of its weights, the optimiser, and how far it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.splits import balanced_subset
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.randomness import derive_seed
from cpixelcnn.training.ema import ExponentialMovingAverage
from cpixelcnn.training.optimiser import make_optimiser

INITIALISING_IMAGES = 64
DIGESTED_IMAGES = 50_000


@dataclass
class TrainProgress:
    """Where a training is; together with weights, average and optimiser, all that a resumed run needs.

    Attributes:
        step: optimiser steps so far (skipped ones count).
        images_seen: the clock of the training; permutation, augmentation and dropout are functions of it.
        train_images: images in an epoch, without which the clock means nothing.
        epoch: epochs that are complete, validation included.
        epoch_bits, epoch_norm: sums over the images of the running epoch of bits/dim and of their step's gradient norm.
        epoch_images: how many images these sums are over (those of skipped steps are not).
        epoch_clipped: how many of these images were in steps whose gradient was scaled to `clip_grad_norm`.
        epoch_seconds: time spent in the steps of the running epoch.
        bad_steps: steps skipped so far because their loss or gradient was not finite.
        seconds: time spent in steps since the start.
        lr: learning rate of the last step.
        best: the validation metrics of the best checkpoint, and `best_step` its step; empty before the first.
        stale_validations: how many validations there were since, none of them better.
        images_digest: of the training images and their labels; empty in checkpoints of earlier versions.
        threads: that the last steps were computed with on a CPU; 0 in checkpoints of earlier versions.
    """

    step: int = 0
    images_seen: int = 0
    train_images: int = 0
    epoch: int = 0
    epoch_bits: float = 0.0
    epoch_norm: float = 0.0
    epoch_images: int = 0
    epoch_clipped: int = 0
    epoch_seconds: float = 0.0
    bad_steps: int = 0
    seconds: float = 0.0
    lr: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    best_step: int = -1
    stale_validations: int = 0
    images_digest: str = ""
    threads: int = 0

    def set_images(self, train_set: ImageSet) -> None:
        """Train on these images, which a resumed training must have been trained on before.

        Raises:
            DataError: they are others.
        """
        digest = train_set_digest(train_set)
        if self.train_images not in (0, len(train_set)):
            raise DataError(
                f"this run was trained on {self.train_images} images an epoch, but there are {len(train_set)} now; "
                "bring back the old ones, or start a new run in another directory"
            )
        if self.images_digest not in ("", digest):
            raise DataError(
                f"the {len(train_set)} training images or their labels are not those that this run was trained on; "
                "bring back the old ones, or start a new run in another directory"
            )
        self.train_images, self.images_digest = len(train_set), digest


@dataclass
class TrainState:
    """What changes while training."""

    model: PixelCNN
    ema: ExponentialMovingAverage
    optimiser: torch.optim.Optimizer
    progress: TrainProgress = field(default_factory=TrainProgress)


def train_set_digest(train_set: ImageSet) -> str:
    """A short digest of the training images and their labels; of very many images, of 50,000 evenly spaced ones."""
    digest = hashlib.blake2b(digest_size=16)
    every = max(1, len(train_set) // DIGESTED_IMAGES)
    for tensor in (train_set.images[::every], train_set.labels):
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def create_state(
    config: RunConfig, train_set: ImageSet | None, device: torch.device, weights: Mapping[str, Tensor] | None = None
) -> TrainState:
    """The state before the first step.

    Args:
        config: of the run.
        train_set: initialises the model (data-dependent initialisation; Salimans & Kingma 2016, arXiv:1602.07868);
            None where a checkpoint will replace the weights.
        device: where to put it.
        weights: start from these instead.
    """
    options = config.train
    torch.manual_seed(derive_seed(options.seed, "weights"))
    model = PixelCNN(config.model).to(device).to(memory_format=torch.channels_last)
    if weights is not None:
        model.load_state_dict(weights)
    elif train_set is not None:
        few = balanced_subset(train_set.labels, INITIALISING_IMAGES)
        model.initialise(train_set.images[few].to(device), train_set.labels[few].to(device))
    model.recompute_activations(options.recompute_activations)
    return TrainState(model, ExponentialMovingAverage(model, options.ema_decay), make_optimiser(model, options))


def check_images(config: RunConfig, train_set: ImageSet, validation_set: ImageSet) -> None:
    """Refuse images that the model cannot be trained on or validated with.

    Raises:
        DataError: there are none, or labels are missing.
        ConfigError: their classes are not the model's.
    """
    for image_set, purpose in ((train_set, "training a conditional model"), (validation_set, "validating it")):
        if len(image_set) == 0:
            raise DataError(f"{image_set.name} ({image_set.split}) has no images; check `data_dir`")
        if config.model.conditional:
            image_set.require_labels(purpose)
            if image_set.classes != config.model.classes:
                raise ConfigError(
                    f"the model has the classes {', '.join(config.model.classes)}, but {image_set.name} "
                    f"({image_set.split}) has {', '.join(image_set.classes)}; choose the data set it was made for"
                )
    if config.train.balanced:
        train_set.require_labels("`balanced`")
