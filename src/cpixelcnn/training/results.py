"""`results.json` of a run: what the training came to, for programs and for later comparison."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cpixelcnn.runs.layout import RESULTS
from cpixelcnn.storage import write_json

if TYPE_CHECKING:
    from cpixelcnn.evaluation.evaluate import Evaluation
    from cpixelcnn.training.loop import TrainResult


def write_results(result: TrainResult, test: Evaluation | None = None) -> None:
    """Write `results.json` into the run: the best epoch, its validation metrics and those of the test split, if any.

    Raises:
        OSError: it cannot be written.
    """
    document: dict[str, Any] = {
        "finished": result.finished,
        "note": result.note,
        "seconds": result.seconds,
        "best_epoch": result.best_epoch or None,
        "validation": {name: _finite(value) for name, value in result.best.items()},
        "test": None if test is None else _metrics(test),
    }
    write_json(result.run / RESULTS, document)


def _metrics(evaluation: Evaluation) -> dict[str, Any]:
    density, scores = evaluation.density, evaluation.scores
    metrics: dict[str, Any] = {
        "n_images": density.n_images,
        "bpd": _finite(density.bpd),
        "bpd_marginal": _finite(density.bpd_marginal),
    }
    if scores is not None:
        metrics |= {
            "accuracy": scores.accuracy,
            "accuracy_ci95": list(scores.accuracy_ci95),
            "f1_macro": scores.f1_macro,
            "nll_posterior": _finite(scores.nll_posterior),
            "ece": scores.ece,
        }
    return metrics


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
