"""`cpixelcnn models`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o

if TYPE_CHECKING:
    from rich.table import Table

    from cpixelcnn.runs.listing import ModelEntry

Runs = Annotated[
    Path, typer.Argument(metavar="[FOLDER]", help="Where the runs are.", show_default="runs")  # its default is shown
]


Card = Annotated[
    str | None, typer.Option("--card", metavar="MODEL", help="Show the card of this model instead: what to know of it.")
]


def models(
    runs: Runs = Path("runs"),
    card: Card = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """List the models that --model can name: those that are included, and your runs, with what they reached.

    Accuracy and bits/dim are those of the test split where it was evaluated, else of the validation.
    """
    if card is not None:
        _show_card(card, json=json)
        return
    from cpixelcnn.errors import CheckpointError
    from cpixelcnn.runs.listing import list_models

    if runs != Path("runs") and not runs.is_dir():
        raise CheckpointError(f"{runs} is no folder of runs; name one, or leave it out for runs/")
    entries = list_models(runs)
    if json:
        console.write_json({"models": [_document(entry) for entry in entries]})
        return
    console.print_result(models_table([entry for entry in entries if not entry.problem]))
    for entry in entries:
        if entry.problem:
            console.warn(f"{entry.name} cannot be used: {entry.problem}")
    if not any(entry.kind == "run" for entry in entries):
        console.info(f"There are no runs under {runs}/ yet; cpixelcnn train makes one.")


def _show_card(model: str, *, json: bool) -> None:
    from rich.markdown import Markdown

    from cpixelcnn.errors import CheckpointError
    from cpixelcnn.model.weights import read_card
    from cpixelcnn.runs.models import find_model

    found = find_model(model)
    card = read_card(found.path)
    if json:
        console.write_json({"model": model, "path": str(found.path), "card": card})
    elif card:
        console.print_result(Markdown(card))
    else:
        raise CheckpointError(f"{found.description} has no card; shipped models have one")


def _document(entry: ModelEntry) -> dict[str, Any]:
    return {**dataclasses.asdict(entry), "path": str(entry.path)}


def models_table(entries: list[ModelEntry]) -> Table:
    """One row for each model, in few columns."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", overflow="fold", style="bold")
    for name in ("accuracy", "bits/dim", "weights", "MB", "epochs"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("date", "trained on"):
        table.add_column(name, no_wrap=True)
    for entry in entries:
        mark = "*" if entry.split == "validation" else " "
        table.add_row(
            escape(entry.name),
            "-" if entry.accuracy is None else f"{100 * entry.accuracy:.1f} %{mark}",
            "-" if entry.bpd is None else f"{entry.bpd:.3f}{mark}",
            _count(entry.parameters or 0),
            f"{(entry.bytes or 0) / 1e6:.1f}",
            ("?" if entry.epochs is None else str(entry.epochs)) + ("" if entry.finished is not False else "..."),
            (entry.date or "?")[:10],
            escape(entry.dataset or "?"),
        )
    shipped = [entry.name for entry in entries if entry.kind == "shipped"]
    notes = [f"{', '.join(shipped)}: included"] if shipped else []
    notes += ["* validation, not test"] if any(entry.split == "validation" for entry in entries) else []
    notes += ["... not finished"] if any(entry.finished is False for entry in entries) else []
    table.caption, table.caption_justify = "; ".join(notes), "left"
    return table


def _count(number: int) -> str:
    """A number in three digits: 377 k, 1.2 M."""
    return f"{number / 1e6:.3g} M" if number >= 999_500 else f"{number / 1e3:.3g} k"
