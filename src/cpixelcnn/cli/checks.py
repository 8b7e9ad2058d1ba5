"""`cpixelcnn checks`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.setup import data_config, load_images, load_model
from cpixelcnn.errors import CpixelcnnError, plural

if TYPE_CHECKING:
    from rich.table import Table

    from cpixelcnn.checks.outcome import Check

RunsFolder = Annotated[
    Path,
    typer.Option("--runs", metavar="FOLDER", help="Where your runs lie; its file system is checked, too."),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Check torch.compile on a CPU as well, which takes a minute or more."),
]


def checks(
    model: o.Model = None,
    device: o.Device = "auto",
    runs: RunsFolder = Path("runs"),
    compile: Compile = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Check this machine and device in about a minute: what to attach to a bug report.

    Log-likelihoods are compared with float64 on the CPU, the sampler with the whole network, and so on; speeds are
    measured. Without --model, the shipped model tiny is used. The exit code is 1 where something differs.
    """
    from cpixelcnn.checks.computing import check_computing
    from cpixelcnn.checks.file_system import check_file_system
    from cpixelcnn.checks.machine import describe_machine
    from cpixelcnn.runs.models import DEFAULT_MODEL

    loaded = load_model(model or DEFAULT_MODEL, device, raw_weights=False)
    size = loaded.config.model.image_height
    images = load_images(
        data_config(loaded.config.data, "embedded", None, image_size=size, train_size=_NR_IMAGES),
        "train",
        loaded,
        download=False,
    )
    machine = describe_machine(loaded.device)
    found = []
    for check in check_computing(loaded.model, images, compile=compile or None):
        console.info(f"{check.outcome:<10} {check.name} ({check.seconds:.0f} s)")
        found.append(check)
    found += check_file_system(runs)
    bad = [check for check in found if not check.passed]
    if json:
        console.write_json({"machine": machine, "checks": [dataclasses.asdict(check) for check in found]})
    else:
        from cpixelcnn.cli.tables import facts

        console.print_result(facts("this machine", list(machine.items())), checks_table(found))
    if bad:
        raise ChecksError(f"{plural(len(bad), 'check')} did not pass: {', '.join(check.name for check in bad)}")


_NR_IMAGES = 64  # drawn for the checks


class ChecksError(CpixelcnnError):
    """Something on this machine does not compute what it should."""


def checks_table(found: list[Check]) -> Table:
    """What was found, one row each."""
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "skipped": "dim"}
    table = Table(title="checks", title_justify="left")
    for name in ("check", "outcome", "found"):
        table.add_column(name, overflow="fold")
    for check in found:
        colour = colours.get(check.outcome, "red")
        table.add_row(check.name, f"[{colour}]{check.outcome}[/{colour}]", escape(console.with_flags(check.detail)))
    return table
