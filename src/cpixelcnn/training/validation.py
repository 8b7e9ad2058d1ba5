"""What a training does between epochs: the metrics of the validation split, and a grid of samples."""

from __future__ import annotations

import math
from pathlib import Path

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.distributed import Processes
from cpixelcnn.evaluation.evaluate import evaluate
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.plots.grids import save_grid
from cpixelcnn.progress import Progress
from cpixelcnn.runs.metrics_log import EpochRecord
from cpixelcnn.sampling.sample import sample

GRID_COLUMNS = 4
GRID_ROWS_UNCONDITIONAL = 4


def validation_metrics(
    model: PixelCNN, validation_set: ImageSet, processes: Processes, progress: Progress
) -> dict[str, float | int | None]:
    """The fields of an `EpochRecord` that validation fills; a metric that is not finite is None."""
    result = evaluate(model, validation_set, processes=processes, progress=progress)
    metrics: dict[str, float | int | None] = {
        "validation_images": result.density.n_images,
        "validation_bpd": result.density.bpd,
        "validation_bpd_marginal": result.density.bpd_marginal,
    }
    if result.scores is not None:
        metrics |= {
            "accuracy": result.scores.accuracy,
            "accuracy_low": result.scores.accuracy_ci95[0],
            "accuracy_high": result.scores.accuracy_ci95[1],
            "f1_macro": result.scores.f1_macro,
            "nll_posterior": result.scores.nll_posterior,
        }
    return {key: value if value is not None and math.isfinite(value) else None for key, value in metrics.items()}


def is_better(record: EpochRecord, best: dict[str, float]) -> bool:
    """Whether an epoch beats the best so far: by accuracy, then posterior NLL; by bits/dim where there is no accuracy.

    Bits per dimension cannot select a classifier, since the label is worth at most log2(classes) / D of them.
    A metric that is missing or not finite never wins, and never keeps a later one from winning.
    """
    if record.accuracy is not None and math.isfinite(record.accuracy):
        nll = record.nll_posterior
        challenger = (record.accuracy, -nll if nll is not None and math.isfinite(nll) else -math.inf)
        return challenger > (best.get("accuracy", -1.0), -best.get("nll_posterior", math.inf))
    bits = record.validation_bpd_marginal
    return bits is not None and math.isfinite(bits) and bits < best.get("validation_bpd_marginal", math.inf)


def save_samples(run: Path, model: PixelCNN, epoch: int, seed: int, progress: Progress) -> Path:
    """Write a grid with a row for each class, from the same noise every time; returns its path.

    Raises:
        OSError: the grid cannot be written.
    """
    rows = model.config.nr_classes if model.config.conditional else GRID_ROWS_UNCONDITIONAL
    labels = [row for row in range(rows) for _ in range(GRID_COLUMNS)]
    samples = sample(model, labels, seed=seed, progress=progress)
    path = run / "samples" / f"epoch-{epoch:04d}.png"
    path.parent.mkdir(exist_ok=True)
    save_grid(path, samples.images, GRID_COLUMNS, captions=model.config.classes if model.config.conditional else ())
    return path
