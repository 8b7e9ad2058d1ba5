"""More than one look at an image: its log-likelihoods are averaged over views that show the same thing."""

from __future__ import annotations

import torch
from torch import Tensor

from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import ConfigError
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE, class_log_probs
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress, silent

MOST_VIEWS = 2


def check_views(views: int) -> None:
    """Refuse a number of views that there is not.

    Raises:
        ConfigError: not 1 (the image) or 2 (the image and its mirror image).
    """
    if not 1 <= views <= MOST_VIEWS:
        raise ConfigError(f"`views` must be 1 (the image) or 2 (and its mirror image), but is {views}")


def view(images: Tensor, number: int) -> Tensor:
    """View 0 of images (N, C, H, W) are the images themselves, view 1 their mirror images."""
    return images.flip(3) if number else images


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
    was trained with horizontal flips is used to both views.

    Args:
        model: class-conditional.
        images: uint8 (N, C, H, W).
        views: 1, or 2 for the mirror image as well.
        batch_size: images computed together.
        processes: those that share the work.
        progress: called with the passes done and their total.

    Raises:
        ConfigError: another number of views.
        CheckpointError, DataError: as `class_log_probs`.
    """
    check_views(views)
    seen = []
    for number in range(views):

        def report(done: int, total: int, before: int = number) -> None:
            progress(before * total + done, views * total)

        looked_at = view(images, number)
        seen.append(class_log_probs(model, looked_at, batch_size=batch_size, processes=processes, progress=report))
    return torch.stack(seen)
