"""Condition contrastive alignment (CCA; Chen et al. 2025, arXiv:2410.09347): a fine-tuning for the class.

A copy of the model as it was before the first step, log p_0, stays as it is. Each image is scored under its own class
c and under a wrong one c', by the model and by the copy, and with d(c) = log p(x | c) - log p_0(x | c) in nats

    loss = mean over the batch of  -log sigmoid(beta d(c))  -  lambda log sigmoid(-beta d(c')),

so that an image becomes likelier under its class, and less likely under the other, than it was. It is no likelihood:
what it gains for the class it may take from bits per dimension. d is a sum over all D values of an image, which moves
by tens of nats in such a training; beta of about 0.02 keeps the sigmoid from saturating at once.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError
from cpixelcnn.model.network import PixelCNN, sum_over_pixels
from cpixelcnn.model.weights import build_model, load_weights
from cpixelcnn.runs.layout import REFERENCE
from cpixelcnn.training.batches import Batch
from cpixelcnn.training.objective import Loss, Objective, wrong_classes


class ContrastiveAlignment(Objective):
    """The loss of a step, as the sum of those of its parts.

    Args:
        config: of the run.
        precision: of the network, float32 or bfloat16; the likelihood is float32.
        device: where the network is.
        reference: the model that the trained one is compared with, on the same device; it is not changed.
    """

    def __init__(self, config: RunConfig, precision: str, device: torch.device, reference: PixelCNN) -> None:
        super().__init__(config, precision, device)
        self.reference = reference

    def __call__(self, model: nn.Module, part: Batch, step_first: int, step_images: int) -> Loss:
        """What `part` contributes to the loss of its step; see `Objective`."""
        wrong = part.labelled(
            wrong_classes(
                part.labels, part.numbers, nr_classes=self.model_config.nr_classes, count=1, seed=self.options.seed
            )[:, 0]
        )
        right = self._log_probs_with_dropout(model, part)
        gain = sum_over_pixels(right - self._of_reference(part))
        wrong_gain = sum_over_pixels(self._log_probs_with_dropout(model, wrong) - self._of_reference(wrong))
        beta, weight = self.options.alignment_scale, self.options.alignment_weight
        total = alignment_loss(gain, wrong_gain, beta, weight).sum() / step_images
        return Loss(total.float(), -right.sum() / (step_images * self.model_config.nr_dimensions * math.log(2)))

    @torch.no_grad()
    def _of_reference(self, batch: Batch) -> Tensor:
        return self._log_probs(self.reference, batch)


def make_objective(config: RunConfig, precision: str, device: torch.device, reference: PixelCNN | None) -> Objective:
    """The objective that the configuration asks for: the alignment where there is a reference."""
    if reference is None:
        return Objective(config, precision, device)
    return ContrastiveAlignment(config, precision, device, reference)


def alignment_loss(gain: Tensor, wrong_gain: Tensor, beta: float, weight: float) -> Tensor:
    """The loss of each image from its two differences d in nats, (N,): under its own class, and under a wrong one."""
    return -logsigmoid(beta * gain) - weight * logsigmoid(-beta * wrong_gain)


def frozen_copy(model: PixelCNN) -> PixelCNN:
    """The reference of a training that starts from this model: without dropout, and without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def read_reference(run: Path, device: torch.device) -> PixelCNN:
    """The reference of a training that is resumed.

    Raises:
        CheckpointError: the run has none, or it is damaged.
    """
    path = run / REFERENCE
    if not path.is_file():
        raise CheckpointError(
            f"{path}, the model that the alignment compares with, is gone; bring it back, or start a new run from "
            "the last checkpoint with `init_from`"
        )
    config, state = load_weights(path)
    model = build_model(config, state, path).to(device)
    return frozen_copy(model.to(memory_format=torch.channels_last))  # as it was, so that its sums round alike
