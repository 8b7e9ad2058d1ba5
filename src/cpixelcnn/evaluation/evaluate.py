"""Everything that one pass over a labelled set tells of a model: accuracy, calibration and bits per dimension."""

from __future__ import annotations

from dataclasses import dataclass

from cpixelcnn.datasets.image_set import ImageSet, match_classes
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.evaluation.bits_per_dim import BitsPerDim, bits_per_dim, conditional_bits
from cpixelcnn.evaluation.classify import BATCH_SIZE, Classification, Prior, class_log_probs, posterior
from cpixelcnn.evaluation.scores import ClassificationScores, score
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress, silent


@dataclass(frozen=True)
class Evaluation:
    """A model on a set of images.

    Attributes:
        density: bits per dimension.
        scores: accuracy and its kin; None for an unconditional model, or where labels are missing.
        classification: the posteriors behind the scores; None for an unconditional model.
        missing: why `scores` is None, one sentence; empty where it is not.
    """

    density: BitsPerDim
    scores: ClassificationScores | None
    classification: Classification | None
    missing: str = ""


def evaluate(
    model: PixelCNN,
    image_set: ImageSet,
    *,
    prior: Prior = "uniform",
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Evaluation:
    """Score a model on a set of images with one forward pass for each class.

    Of several processes each calls this, computes its share of the batches, and gets the whole result.

    Raises:
        DataError: no images, or images of another shape than the model's.
        ConfigError: images of other classes than the model's; the order of the classes does not matter.
    """
    if not model.config.conditional:
        density = bits_per_dim(model, image_set.images, batch_size=batch_size, processes=processes, progress=progress)
        return Evaluation(density, None, None, "the model is unconditional, so there is no accuracy")
    image_set = match_classes(image_set, model.config.classes)
    log_likelihoods = class_log_probs(
        model, image_set.images, batch_size=batch_size, processes=processes, progress=progress
    )
    density = conditional_bits(model.config, log_likelihoods, image_set.labels, prior)
    classification = posterior(model.config, log_likelihoods, prior)
    if not image_set.labelled:
        missing = (
            f"{image_set.name} ({image_set.split}) has images without labels, so there is no accuracy "
            "and no conditional bits/dim"
        )
        return Evaluation(density, None, classification, missing)
    if bool(classification.log_posteriors.isnan().any()):
        return Evaluation(density, None, classification, "the likelihoods are not finite, so there is no accuracy")
    return Evaluation(density, score(classification.log_posteriors, image_set.labels), classification)
