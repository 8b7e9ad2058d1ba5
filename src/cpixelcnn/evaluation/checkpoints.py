"""A whole run: the scores of each checkpoint that was kept, on the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import CheckpointError, OtherProcessError
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE
from cpixelcnn.evaluation.evaluate import Evaluation, evaluate
from cpixelcnn.evaluation.priors import Prior
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import build_model, load_weights
from cpixelcnn.progress import Progress, silent
from cpixelcnn.runs.kept_checkpoints import CheckpointScores, KeptCheckpoint


def score_checkpoints(
    checkpoints: Iterable[KeptCheckpoint],
    image_set: ImageSet,
    *,
    distance: Callable[[PixelCNN], tuple[str, float]] | None = None,
    left_out: Callable[[str], object] | None = None,
    prior: Prior = "uniform",
    views: int = 1,
    batch_size: int = BATCH_SIZE,
    device: torch.device | str = "cpu",
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Iterator[CheckpointScores]:
    """Score checkpoints one after the other, each as `evaluate` does; what is scored is not lost by an interruption.

    Args:
        checkpoints: as from `kept_checkpoints`.
        image_set: the images, such as a validation split.
        distance: gives the name and the value of a distance of a model's samples from real images, if that is wanted.
        left_out: called with a sentence on each checkpoint that cannot be read, such as one that a running training has
            removed since; unless given, the first such is an error.
        prior: p(c), see `log_prior`.
        views: how many views of each image to look at.
        batch_size: images computed together.
        device: where the models are put.
        processes: those that share the work; each calls this and gets all results.
        progress: called with the passes done and their total, anew for each checkpoint.

    Raises:
        NonFiniteError: the likelihoods of a checkpoint overflow.
        CheckpointError, ConfigError, DataError: as `load_weights` and `evaluate`.
    """
    for checkpoint in checkpoints:
        try:
            with processes.together():
                config, state = load_weights(checkpoint.weights)
                model = build_model(config, state, checkpoint.weights).to(device).to(memory_format=torch.channels_last)
        except (CheckpointError, OtherProcessError) as error:
            if left_out is None:
                raise
            left_out(str(error))
            continue
        found = evaluate(
            model,
            image_set,
            prior=prior,
            views=views,
            batch_size=batch_size,
            processes=processes,
            progress=progress,
        )
        found.density.require_finite()
        yield _summary(checkpoint, found, (None, None) if distance is None else distance(model))


def _summary(
    checkpoint: KeptCheckpoint, found: Evaluation, distance: tuple[str, float] | tuple[None, None]
) -> CheckpointScores:
    scores, density = found.scores, found.density
    interval = (None, None) if scores is None else scores.accuracy_ci95
    return CheckpointScores(
        epoch=checkpoint.epoch,
        step=checkpoint.step,
        images_seen=checkpoint.images_seen,
        n_images=density.n_images,
        accuracy=None if scores is None else scores.accuracy,
        accuracy_low=interval[0],
        accuracy_high=interval[1],
        f1_macro=None if scores is None else scores.f1_macro,
        nll_posterior=None if scores is None else scores.nll_posterior,
        bpd=density.bpd,
        bpd_marginal=density.bpd_marginal,
        bpd_stderr=density.stderr,
        distance=distance[1],
        distance_name=distance[0],
    )
