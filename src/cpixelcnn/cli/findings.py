"""What pictures and reports of an evaluation are made of, beyond its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpixelcnn.cli import console
from cpixelcnn.cli.setup import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.calibration import Calibration
    from cpixelcnn.evaluation.evaluate import Evaluation
    from cpixelcnn.evaluation.mistakes import Mistake
    from cpixelcnn.evaluation.pixel_maps import BitsMap
    from cpixelcnn.evaluation.priors import Prior
    from cpixelcnn.evaluation.scores import ClassificationScores, ReliabilityBin
    from cpixelcnn.runs.metrics_log import EpochRecord

MOST_MISTAKES = 12


@dataclass(frozen=True)
class Calibrated:
    """Scores with a temperature.

    Attributes:
        scores: the scores.
        log_posteriors: log p(c | x) behind them, (N, classes).
        note: which temperature that is, and that no image was scored with one that was fitted on it.
    """

    scores: ClassificationScores
    log_posteriors: Tensor
    note: str


@dataclass(frozen=True)
class Findings:
    """An evaluation with all that is drawn of it.

    Attributes:
        loaded: the model.
        images: what it was evaluated on.
        evaluation: the numbers.
        about: the model and the data, for titles.
        calibrated: the scores with a temperature, where there are labels enough.
        mistakes: the most confident ones.
        evidence: nats for the predicted against the true class at each pixel of them, (mistakes, H, W).
        bits: where the bits are spent.
        records: metrics of the epochs of the model's run, empty where it is of none.
    """

    loaded: LoadedModel
    images: ImageSet
    evaluation: Evaluation
    about: str
    calibrated: Calibrated | None
    mistakes: Sequence[Mistake]
    evidence: Tensor
    bits: BitsMap
    records: Sequence[EpochRecord]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the model's classes."""
        return self.loaded.config.model.classes

    @property
    def reliability(self) -> Mapping[str, Sequence[ReliabilityBin]]:
        """The bins of the reliability diagram, without a temperature and, if there is one, with it."""
        from cpixelcnn.evaluation.scores import reliability

        assert self.evaluation.classification is not None
        posteriors = {"without a temperature": self.evaluation.classification.log_posteriors}
        if self.calibrated is not None:
            posteriors["with a temperature"] = self.calibrated.log_posteriors
        return {name: reliability(each.exp(), self.images.labels) for name, each in posteriors.items()}

    def told_probability(self, mistake: Mistake) -> str:
        """The probability of a wrong prediction, and the calibrated one."""
        told = f"p = {mistake.probability:.4f}"
        if self.calibrated is None:
            return told
        calibrated = float(self.calibrated.log_posteriors[mistake.index, mistake.prediction].exp())
        return f"{told}, calibrated {calibrated:.2f}"

    def file_name(self, index: int) -> str:
        """The name of an image's file, or its number."""
        paths = self.images.paths
        return f"image {index}" if paths is None else paths[index].name


def find_bits(loaded: LoadedModel, images: ImageSet, *, prior: Prior, batch_size: int, processes: Processes) -> BitsMap:
    """Where the bits of these images are spent; every process calls this and gets the whole map."""
    from cpixelcnn.evaluation.pixel_maps import bits_map

    with console.activity("bits map") as progress:
        return bits_map(
            loaded.model,
            images.images,
            images.labels,
            prior=prior,
            batch_size=batch_size,
            processes=processes,
            progress=progress,
        )


def title_of(loaded: LoadedModel, data: str) -> str:
    """The model and the data, for above a picture."""
    from cpixelcnn.runs.models import model_name

    return f"{model_name(loaded.path)}: {data}"


def find_all(
    loaded: LoadedModel,
    images: ImageSet,
    evaluation: Evaluation,
    *,
    data: str,
    calibration: Calibration | None,
    batch_size: int,
    processes: Processes,
) -> Findings:
    """Everything that is drawn of an evaluation; every process calls this and gets all.

    Args:
        loaded: the model.
        images: the images.
        evaluation: what was found of them.
        data: what the images are, for titles.
        calibration: the temperature that was just fitted; without one that which is stored beside the weights, and
            without that one it is found by cross-validation.
        batch_size: images computed together.
        processes: those that share the work.
    """
    import torch

    from cpixelcnn.evaluation.calibration import CALIBRATIONS
    from cpixelcnn.evaluation.mistakes import confident_mistakes
    from cpixelcnn.evaluation.pixel_maps import evidence_map
    from cpixelcnn.runs.metrics_log import METRICS, read_records
    from cpixelcnn.runs.models import run_of

    with processes.together():
        calibration = calibration or CALIBRATIONS.find(loaded.path)
    found, config = evaluation.classification, loaded.config.model
    mistakes = []
    evidence = torch.empty(0, config.image_height, config.image_width)
    if found is not None and evaluation.scores is not None:
        mistakes = confident_mistakes(found.log_posteriors, images.labels, MOST_MISTAKES)
        mistaken = images[[each.index for each in mistakes]]
        evidence = evidence_map(
            loaded.model,
            mistaken.images,
            [each.prediction for each in mistakes],
            [each.label for each in mistakes],
            crops=mistaken.crops,
            views=evaluation.views,
            batch_size=batch_size,
            processes=processes,
        )
    run = run_of(loaded.path)
    return Findings(
        loaded=loaded,
        images=images,
        evaluation=evaluation,
        about=title_of(loaded, data),
        calibrated=_calibrate(loaded, images, evaluation, calibration),
        mistakes=mistakes,
        evidence=evidence,
        bits=find_bits(loaded, images, prior=evaluation.prior or "uniform", batch_size=batch_size, processes=processes),
        records=read_records(run / METRICS)[0] if run is not None else (),
    )


def _calibrate(
    loaded: LoadedModel, images: ImageSet, evaluation: Evaluation, calibration: Calibration | None
) -> Calibrated | None:
    from cpixelcnn.evaluation.calibration import FEWEST_IMAGES, NR_FOLDS, cross_validated
    from cpixelcnn.evaluation.evaluate import calibrated_scores
    from cpixelcnn.evaluation.scores import score

    found, config = evaluation.classification, loaded.config.model
    if found is None or evaluation.scores is None or config.nr_classes < 2:
        return None
    if calibration is not None:
        with_it = calibrated_scores(config, images, found, calibration, evaluation.prior)
        fitted = f"{calibration.n_images} images of {calibration.dataset}, {calibration.split} split"
        note = f"with a temperature of {calibration.temperature:.3g}, fitted on {fitted}"
        if with_it.cross_validated:
            note += f" (these images: {NR_FOLDS}-fold cross-validated)"
        return Calibrated(with_it.scores, with_it.log_posteriors, note)
    if len(images) < FEWEST_IMAGES:
        return None
    log_posteriors = cross_validated(config, found.log_likelihoods, images.labels, evaluation.prior)
    note = f"with a temperature, {NR_FOLDS}-fold cross-validated on these images"
    return Calibrated(score(log_posteriors, images.labels), log_posteriors, note)
