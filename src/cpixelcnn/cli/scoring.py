"""The pass over the images that `cpixelcnn eval` makes for each model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cpixelcnn.cli import console
from cpixelcnn.cli.setup import LoadedModel, load_model

if TYPE_CHECKING:
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.evaluate import Evaluation
    from cpixelcnn.evaluation.priors import Prior


@dataclass(frozen=True)
class Scoring:
    """The options that say how models are scored.

    Attributes:
        prior: p(c), see `log_prior`.
        views: how many views of each image to look at.
        batch_size: images computed together.
        device: auto, cpu, cuda, cuda:N or mps.
        raw_weights: whether the weights themselves are used rather than their moving average.
    """

    prior: Prior = "uniform"
    views: int = 1
    batch_size: int = 64
    device: str = "auto"
    raw_weights: bool = False

    def load(self, model: str | None, processes: Processes, dataset: str | None = None) -> LoadedModel:
        """The model that `--model` means; if it names none, the one for that data set."""
        rank = processes.local_rank
        return load_model(model, self.device, raw_weights=self.raw_weights, local_rank=rank, dataset=dataset)

    def score(self, loaded: LoadedModel, images: ImageSet, processes: Processes, name: str = "scoring") -> Evaluation:
        """Score a model; every process calls this and gets the whole result."""
        from cpixelcnn.evaluation.evaluate import evaluate

        with console.activity(name, unit="images", count=len(images)) as progress:
            result = evaluate(
                loaded.model,
                images,
                prior=self.prior,
                views=self.views,
                batch_size=self.batch_size,
                processes=processes,
                progress=progress,
            )
        with processes.together():
            result.density.require_finite()
        return result


def document(evaluation: Evaluation) -> dict[str, Any]:
    """What an evaluation found, for scripts; None is what there is not."""
    scores, density = evaluation.scores, evaluation.density
    return {
        "accuracy": scores and scores.accuracy,
        "accuracy_ci95": scores and list(scores.accuracy_ci95),
        "f1_macro": scores and scores.f1_macro,
        "confusion": scores and scores.confusion.tolist(),
        "bpd": density.bpd,
        "bpd_marginal": density.bpd_marginal,
        "bpd_stderr": density.stderr,
        "bpd_per_class": list(density.per_class) or None,
        "nll_posterior": scores and scores.nll_posterior,
        "ece": scores and scores.ece,
        "brier": scores and scores.brier,
        "precision": scores and list(scores.precision),
        "recall": scores and list(scores.recall),
        "prior": list(evaluation.prior) or None,
    }
