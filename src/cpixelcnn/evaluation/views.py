"""More than one look at an image: its log-likelihoods are averaged over views that show the same thing.

The views are the image and its mirror image and, for a model that tells orientations apart, both in four quarter turns.
Each is the image's pixels in another order, so that p(x | c) is factorised in another way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import ConfigError
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE, class_log_probs
from cpixelcnn.model.conditioning import NR_TURNS, turned
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.orientations import in_orientation
from cpixelcnn.progress import Progress, silent


@dataclass(frozen=True)
class View:
    """One view: the image mirrored or not, and then turned.

    Attributes:
        mirrored: left and right changed over.
        quarter_turns: to the left.
    """

    mirrored: bool
    quarter_turns: int

    def of(self, images: Tensor) -> Tensor:
        """This view of images (..., H, W)."""
        return turned(images.flip(-1) if self.mirrored else images, self.quarter_turns)

    def back(self, views: Tensor) -> Tensor:
        """What `of` made of images, or something else of their size, as the images lay, (..., H, W)."""
        images = turned(views, -self.quarter_turns)
        return images.flip(-1) if self.mirrored else images


VIEWS = tuple(View(mirrored, quarter_turns) for quarter_turns in range(NR_TURNS) for mirrored in (False, True))
_NUMBERS = (1, 2, len(VIEWS))


def check_views(views: int, config: ModelConfig | None = None) -> None:
    """Refuse a number of views that there is not, or that is not for a model of this configuration.

    Raises:
        ConfigError: not 1 (the image), 2 (and its mirror image), or 8 (and their quarter turns); or 8 where the model
            does not tell orientations apart.
    """
    if views not in _NUMBERS:
        raise ConfigError(
            f"`views` must be 1 (the image), 2 (and its mirror image) or 8 (and both in quarter turns), but is {views}"
        )
    if config is not None and views > 2 and config.nr_orientations < NR_TURNS:
        raise ConfigError(
            f"`views` {views} is for models that tell orientations apart (`nr_orientations` {NR_TURNS}), and this one "
            "knows upright images only; pass 1 or 2"
        )


def view_log_probs(
    model: PixelCNN,
    images: Tensor,
    *,
    views: int = 1,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Tensor:
    """log p(view | c) of every view of every image under every class, float64 (views, N, classes).

    Classify by the mean over views of log p, not of p: the mean of p is that of the most probable view. A model that
    was trained with horizontal flips is used to mirror images.

    Args:
        model: class-conditional.
        images: uint8 (N, C, H, W).
        views: 1, 2 for the mirror image as well, or 8 for both in four quarter turns.
        batch_size: images computed together.
        processes: those that share the work.
        progress: called with the passes done and their total.

    Raises:
        ConfigError: another number of views, or 8 of a model that does not tell orientations apart.
        CheckpointError, DataError: as `class_log_probs`.
    """
    check_views(views, model.config)
    seen = []
    for number, view in enumerate(VIEWS[:views]):

        def report(done: int, total: int, before: int = number) -> None:
            progress(before * total + done, views * total)

        of_view = in_orientation(model, view.quarter_turns)
        looked_at = view.of(images)
        seen.append(class_log_probs(of_view, looked_at, batch_size=batch_size, processes=processes, progress=report))
    return torch.stack(seen)
