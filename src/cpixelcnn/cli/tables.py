"""Results as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cpixelcnn.evaluation.bits_per_dim import BitsPerDim
from cpixelcnn.evaluation.evaluate import Evaluation
from cpixelcnn.evaluation.scores import ClassificationScores

if TYPE_CHECKING:
    from cpixelcnn.evaluation.calibration import Calibration
    from cpixelcnn.training.loop import TrainResult


def facts(title: str, rows: list[tuple[str, str]]) -> Table:
    """A table of names and values."""
    table = Table(title=escape(title), show_header=False, title_justify="left")
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(escape(name), escape(value))
    return table


def percent_with_interval(value: float, interval: tuple[float, float]) -> str:
    """A fraction as percent, with its 95 % interval."""
    return f"{100 * value:.1f} %  (95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def density_rows(density: BitsPerDim) -> list[tuple[str, str]]:
    """Bits per dimension, conditional where there is such a thing, and marginal."""
    rows = []
    if density.bpd is not None:
        rows.append(("bits/dim, class given", f"{density.bpd:.4f}  (standard error {density.stderr:.4f})"))
        rows.append(("bits/dim, marginal", f"{density.bpd_marginal:.4f}"))
    else:
        rows.append(("bits/dim, marginal", f"{density.bpd_marginal:.4f}  (standard error {density.stderr:.4f})"))
    return rows


def score_rows(scores: ClassificationScores) -> list[tuple[str, str]]:
    """Accuracy and its kin."""
    return [
        ("accuracy", percent_with_interval(scores.accuracy, scores.accuracy_ci95)),
        ("macro F1", f"{100 * scores.f1_macro:.1f} %"),
        ("posterior NLL", "infinite" if scores.nll_posterior is None else f"{scores.nll_posterior:.4f} nats"),
        ("calibration error", f"{100 * scores.ece:.1f} %"),
        ("Brier score", f"{scores.brier:.4f}"),
    ]


def evaluation_table(title: str, evaluation: Evaluation) -> Table:
    """What an evaluation found."""
    rows = [("images", str(evaluation.density.n_images))]
    if evaluation.views > 1:
        rows.append(("views", f"{evaluation.views}, by the mean of their log p; bits/dim of the image itself"))
    if len(set(evaluation.prior)) > 1:
        rows.append(("class prior", ", ".join(f"{weight:.3g}" for weight in evaluation.prior)))
    if evaluation.scores is not None:
        rows += score_rows(evaluation.scores)
    return facts(title, rows + density_rows(evaluation.density))


def calibration_table(calibration: Calibration) -> Table:
    """A temperature, and what it changes (cross-validated)."""
    rows = [
        ("temperature", f"{calibration.temperature:.4g}"),
        ("images", f"{calibration.n_images} of {calibration.dataset} ({calibration.split})"),
        ("posterior NLL", f"{calibration.nll_before:.4f} before, {calibration.nll_after:.4f} nats after"),
        (
            "calibration error",
            f"{100 * calibration.ece_before:.1f} % before, {100 * calibration.ece_after:.1f} % after",
        ),
    ]
    return facts("calibration (after: five-fold cross-validated)", rows)


def confusion_table(scores: ClassificationScores, classes: tuple[str, ...]) -> Table:
    """Counts by true class (rows) and predicted class (columns)."""
    table = Table(title="confusion: true class by row, prediction by column", title_justify="left")
    table.add_column("")
    for name in classes:
        table.add_column(escape(name), justify="right", overflow="fold")
    table.add_column("recall", justify="right")
    for i, row in enumerate(scores.confusion.tolist()):
        cells = [f"[bold]{count}[/bold]" if i == j else str(count) for j, count in enumerate(row)]
        table.add_row(escape(classes[i]), *cells, f"{100 * scores.recall[i]:.1f} %", end_section=i + 1 == len(classes))
    table.add_row("precision", *(f"{100 * value:.1f} %" for value in scores.precision), "")
    return table


def training_table(result: TrainResult, test: Evaluation | None) -> Table:
    """What a training came to: the validation metrics of the best epoch, those of the test split, and the files."""
    best = result.best
    rows = []
    if "accuracy" in best:
        interval = (best["accuracy_low"], best["accuracy_high"])
        rows.append(("validation accuracy", percent_with_interval(best["accuracy"], interval)))
    bits = best.get("validation_bpd", best.get("validation_bpd_marginal"))
    if bits is not None:
        rows.append(("validation bits/dim", f"{bits:.4f}"))
    if test is not None:
        named = evaluation_rows(test) if test.scores else density_rows(test.density)
        rows += [(f"test {name}", value) for name, value in named]
    if result.sample_grid is not None:
        rows.append(("samples (last epoch)", str(result.sample_grid)))
    rows += [(name, str(result.run / name)) for name in ("curves.png", "metrics.csv", "results.json")]
    rows.append(("run", str(result.run)))
    title = f"best checkpoint: epoch {result.best_epoch}" if result.best_epoch else "best checkpoint"
    return facts(title + (f", on {test.density.n_images} test images" if test else ""), rows)


def evaluation_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Accuracy first, then bits per dimension."""
    assert evaluation.scores is not None
    return score_rows(evaluation.scores)[:2] + density_rows(evaluation.density)
