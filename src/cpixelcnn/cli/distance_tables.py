"""Distances between samples and real images as tables for people, each beside what real images come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cpixelcnn.cli.tables import facts

if TYPE_CHECKING:
    from cpixelcnn.fid.kernel import KernelDistance
    from cpixelcnn.fid.score import FrechetScore

MOST_CLASSES = 12


def distance_tables(score: FrechetScore) -> list[Table]:
    """The distances, those of each class if there are any, and what one must know to read them."""
    tables = [_values(score)]
    if score.per_class:
        tables.append(_classes(score))
    return [*tables, _circumstances(score)]


def _values(score: FrechetScore) -> Table:
    name, kernel = (
        ("FID", "KID") if score.is_fid else (f"Frechet distance ({score.features}; not an FID)", "kernel distance")
    )
    rows = [(name, _number(score.value), _number(score.floor))]
    if score.kernel is not None:
        rows.append((kernel, _with_error(score.kernel), _with_error(score.kernel_floor)))
    ours, real = score.neighbours, score.neighbours_floor
    if ours is not None:
        rows += [
            (field, f"{getattr(ours, field):.3f}", f"{getattr(real, field):.3f}" if real else "")
            for field in ("precision", "recall", "density", "coverage")
        ]
    floor = None if score.floor is None else f"floor ({score.n_floor} real images)"
    return _beside("distance of the samples from the reference images", "", "samples", floor, rows)


def _classes(score: FrechetScore) -> Table:
    rows = [
        (f"{of.name} ({of.n_samples} of {of.n_reference})", _number(of.value), _number(of.floor))
        for of in score.per_class
    ]
    floor = None if score.floor is None else "floor"
    return _beside("by class: they compare with their floor, not with the distance above", "", "samples", floor, rows)


def _beside(title: str, left: str, middle: str, right: str | None, rows: Sequence[tuple[str, str, str]]) -> Table:
    """A table of names with one or two columns of values."""
    table = Table(title=title, title_justify="left")
    table.add_column(left, style="bold", overflow="fold")
    for heading in (middle, right):
        if heading is not None:
            table.add_column(heading, justify="right", overflow="fold")
    for name, *values in rows:
        table.add_row(escape(name), *values[: 1 if right is None else 2])
    return table


def _circumstances(score: FrechetScore) -> Table:
    references = "unknown" if score.n_reference is None else str(score.n_reference)
    rows = [
        ("samples", f"{score.n_samples} ({score.sample_size}), covariance of rank {score.rank_samples} at most"),
        (
            "references",
            references
            + (f" ({score.reference_size})" if score.reference_size else "")
            + ("" if score.rank_reference is None else f", covariance of rank {score.rank_reference} at most"),
        ),
        ("classes", _counts(score.balance.classes, score.balance.samples)),
        ("reference classes", _counts(score.balance.classes, score.balance.reference)),
        ("features", f"{score.features}, {score.dims} dimensions"),
    ]
    if score.measured_by is not None:
        rows.append(("measured by", f"the {score.measured_by} protocol"))
    if score.floor is None:
        rows.append(("floor", "unknown, for want of real images apart from the reference"))
    return facts("how it was measured", [*rows, ("protocol", score.protocol)])


def _counts(classes: Sequence[str], counts: Sequence[int] | None) -> str:
    if counts is None:
        return "not known"
    shown = [f"{name} {count}" for name, count in zip(classes, counts, strict=True)]
    more = [f"and {len(shown) - MOST_CLASSES} more"] if len(shown) > MOST_CLASSES else []
    return ", ".join(shown[:MOST_CLASSES] + more)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _with_error(distance: KernelDistance | None) -> str:
    if distance is None:
        return "unknown"
    error = "" if distance.stderr is None else f" +- {distance.stderr:.2g}"
    return f"{distance.value:.4g}{error}"
