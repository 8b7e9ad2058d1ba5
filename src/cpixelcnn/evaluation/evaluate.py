"""Everything that one pass over a labelled set tells of a model: accuracy, calibration and bits per dimension."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import ImageSet, match_classes
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.evaluation.bits_per_dim import BitsPerDim, bits_per_dim, conditional_bits
from cpixelcnn.evaluation.calibration import Calibration, cross_validated, images_digest
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE
from cpixelcnn.evaluation.classify import Classification, posterior
from cpixelcnn.evaluation.priors import Prior, log_prior
from cpixelcnn.evaluation.scores import ClassificationScores, score
from cpixelcnn.evaluation.views import view_log_probs
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress, silent


@dataclass(frozen=True)
class Evaluation:
    """A model on a set of images.

    Attributes:
        density: bits per dimension (of the images as they are, however many views there were).
        scores: accuracy and its kin; None for an unconditional model, or where labels are missing.
        classification: the posteriors behind the scores; None for an unconditional model.
        missing: why `scores` is None, one sentence; empty where it is not.
        prior: p(c) that was used, one probability for each class; empty for an unconditional model.
        log_likelihoods: log p(view | c) of every view of every image, float64 (views, N, classes); None for an
            unconditional model.
    """

    density: BitsPerDim
    scores: ClassificationScores | None
    classification: Classification | None
    missing: str = ""
    prior: tuple[float, ...] = ()
    log_likelihoods: Tensor | None = None

    @property
    def views(self) -> int:
        """Views of each image by which it was classified."""
        return 1 if self.log_likelihoods is None else len(self.log_likelihoods)


@dataclass(frozen=True)
class CalibratedScores:
    """Scores with a temperature.

    Attributes:
        calibration: the temperature and where it is from.
        scores: the scores.
        log_posteriors: behind them, (N, classes).
        cross_validated: these are the images that the temperature was fitted on, so that each was scored with a
            temperature fitted on others.
    """

    calibration: Calibration
    scores: ClassificationScores
    log_posteriors: Tensor
    cross_validated: bool


def evaluate(
    model: PixelCNN,
    image_set: ImageSet,
    *,
    prior: Prior = "uniform",
    views: int = 1,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Evaluation:
    """Score a model on a set of images with one forward pass for each class and view.

    Args:
        model: conditional or not.
        image_set: the images; their classes are found by name among the model's.
        prior: p(c), see `log_prior`.
        views: how many views of each image to look at, see `view_log_probs`.
        batch_size: images computed together; it matters to rounding only.
        processes: those that share the work; each calls this and gets the whole result.
        progress: called with the passes done and their total.

    Raises:
        DataError: no images, images of another shape than the model's, or 10 views of images without crops.
        ConfigError: images of other classes than the model's (their order does not matter), a prior that does not suit
            them, or another number of views.
    """
    if not model.config.conditional:
        density = bits_per_dim(model, image_set.images, batch_size=batch_size, processes=processes, progress=progress)
        return Evaluation(density, None, None, "the model is unconditional, so there is no accuracy")
    image_set = match_classes(image_set, model.config.classes)
    log_likelihoods = view_log_probs(
        model,
        image_set.images,
        crops=image_set.crops,
        views=views,
        batch_size=batch_size,
        processes=processes,
        progress=progress,
    )
    return evaluate_log_likelihoods(model.config, image_set, log_likelihoods, prior)


def evaluate_log_likelihoods(
    config: ModelConfig, image_set: ImageSet, log_likelihoods: Tensor, prior: Prior = "uniform"
) -> Evaluation:
    """The same from log-likelihoods that are there already, (views, N, classes), of images with the model's classes."""
    density = conditional_bits(config, log_likelihoods[0], image_set.labels, prior)
    evidence = log_likelihoods.mean(dim=0)
    classification = posterior(config, evidence, prior)
    used = tuple(log_prior(config, prior, evidence).exp().tolist())
    missing = ""
    if not image_set.labelled:
        missing = (
            f"{image_set.name} ({image_set.split}) has images without labels, so there is no accuracy "
            "and no conditional bits/dim"
        )
    elif bool(classification.log_posteriors.isnan().any()):
        missing = "the likelihoods are not finite, so there is no accuracy"
    scores = None if missing else score(classification.log_posteriors, image_set.labels)
    return Evaluation(density, scores, classification, missing, used, log_likelihoods)


def calibrated_scores(
    config: ModelConfig,
    image_set: ImageSet,
    classification: Classification,
    calibration: Calibration,
    prior: Prior = "uniform",
) -> CalibratedScores:
    """Scores with a temperature, honest also on the images that it was fitted on.

    Args:
        config: of the model.
        image_set: the images, all labelled with indices into the model's classes.
        classification: what the model says of them, without a temperature.
        calibration: the temperature.
        prior: p(c), see `log_prior`.

    Raises:
        DataError: no images, or images without labels.
    """
    image_set.require_labels("a score")
    same = images_digest(image_set) == calibration.images
    if same:
        log_posteriors = cross_validated(config, classification.log_likelihoods, image_set.labels, prior)
    else:
        calibrated = posterior(config, classification.log_likelihoods, prior, calibration.temperature)
        log_posteriors = calibrated.log_posteriors
    return CalibratedScores(calibration, score(log_posteriors, image_set.labels), log_posteriors, same)
