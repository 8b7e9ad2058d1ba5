"""Classify images batch by batch, however many there are: each batch is done with before the next one is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cpixelcnn.datasets.user_images import UserBatch
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.evaluation.bits_per_dim import bits, marginal_log_probs
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE
from cpixelcnn.evaluation.classify import Classification, posterior
from cpixelcnn.evaluation.priors import Prior
from cpixelcnn.evaluation.views import view_log_probs
from cpixelcnn.model.network import PixelCNN


@dataclass(frozen=True)
class ClassifiedBatch:
    """Some of a user's images with what a model says of them.

    Attributes:
        source: their files and pixels, and the files that could not be read.
        labels: the classes that the names of their folders tell, int64 (N,), -1 where they tell none.
        classification: their classes.
        bits: bits/dim of each image as it is, over classes with equal weights (marginal), float64 (N,).
    """

    source: UserBatch
    labels: Tensor
    classification: Classification
    bits: Tensor

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the images."""
        return self.source.paths


def classify_batches(
    model: PixelCNN,
    batches: Iterable[UserBatch],
    *,
    prior: Prior = "uniform",
    temperature: float = 1.0,
    views: int = 1,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
) -> Iterator[ClassifiedBatch]:
    """Classify batches as they come; the arguments are those of `classify`, and so are its errors.

    A prior that is to be "estimated" is so for each batch by itself, which is hardly wanted: estimate it first from all
    log-likelihoods (`estimate_prior`), and give it as numbers.
    """
    config = model.config
    for batch in batches:
        seen = view_log_probs(
            model, batch.images, crops=batch.crops, views=views, batch_size=batch_size, processes=processes
        )
        yield ClassifiedBatch(
            source=batch,
            labels=batch.labels(config.classes),
            classification=posterior(config, seen.mean(dim=0), prior, temperature),
            bits=bits(config, marginal_log_probs(config, seen[0])),
        )
