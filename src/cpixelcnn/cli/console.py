"""Talking to people and to scripts: results on stdout, all else on stderr, and output never stops the work."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cpixelcnn import progress as library_progress

PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal

json_written = False
silent = False  # true in all but the first of several processes: none of them speaks, but of an error


class _Console(Console):
    """A console whose reader may go away: Rich would end the program."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def stdout() -> Console:
    """The console of results."""
    return _Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def stderr() -> Console:
    """The console of everything else."""
    return _Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


_FLAGS = {"run": "--out", "config": "--preset"}  # parameters whose flag has another name


def with_flags(message: str) -> str:
    """A message of the library with the parameters that it names in backquotes as the flags of the command line.

    >>> with_flags("`batch_size` must be 1 or more, but is 0; see `cpixelcnn train --help`")
    '--batch-size must be 1 or more, but is 0; see `cpixelcnn train --help`'
    """
    return re.sub(r"`([a-z][a-z0-9_]*)`", lambda m: _FLAGS.get(m[1], "--" + m[1].replace("_", "-")), message)


def info(text: str, *, style: str | None = None) -> None:
    """A line for people on stderr; brackets in it are printed as they are."""
    if not silent:
        error(text, style=style)


def error(text: str, *, style: str | None = None) -> None:
    """The same, whether or not the console is silent."""
    with suppress(OSError, ValueError):  # a closed stderr must not end the work
        stderr().print(escape(text), style=style)


def warn(text: str) -> None:
    """A warning on stderr."""
    info(f"warning: {with_flags(text)}", style="yellow")


def print_result(*renderables: RenderableType) -> None:
    """Results for people on stdout; a reader who has gone away (`| head`) is no error."""
    if silent:
        return
    with suppress(OSError, ValueError):
        stdout().print(*renderables, sep="\n")


def write_json(document: dict[str, Any]) -> None:
    """The one JSON document on stdout; refuses NaN and a second document."""
    global json_written
    if silent:
        return
    assert not json_written, "stdout holds one document already"
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    json_written = True
    with suppress(BrokenPipeError):  # whoever read our output has seen enough
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def activity(name: str, *, unit: str = "", rate: tuple[str, int] | None = None) -> Iterator[library_progress.Progress]:
    """Show the progress of one piece of work on stderr: a bar on a terminal, a line now and then elsewhere.

    Args:
        name: of the work.
        unit: of its steps, shown behind their number.
        rate: what to show the speed in, and how many steps one of it takes: ("images/s", rows of an image).
    """
    if silent or not stderr().is_terminal:
        yield PlainProgress(name, rate)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn(f"{unit}{{task.fields[speed]}}"),
        TimeRemainingColumn(compact=True),
    )
    started = time.monotonic()
    with Progress(*columns, console=stderr(), transient=True, expand=True) as bar:
        task = bar.add_task(escape(name), total=None, speed="")

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, speed=_speed(done, time.monotonic() - started, rate))

        yield report


class PlainProgress:
    """Progress as lines, at most one each `PLAIN_INTERVAL` seconds."""

    def __init__(self, name: str, rate: tuple[str, int] | None = None) -> None:
        self.name, self.rate = name, rate
        self.started = self.last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= PLAIN_INTERVAL and done < total:
            self.last = now
            remaining = (now - self.started) * (total - done) / max(done, 1)
            speed = _speed(done, now - self.started, self.rate)
            info(f"{self.name}: {100 * done // total} %{speed}, {duration(remaining)} to go")


def _speed(done: int, seconds: float, rate: tuple[str, int] | None) -> str:
    if rate is None or not seconds:
        return ""
    unit, steps = rate
    return f", {done / steps / seconds:.3g} {unit}"


def plural(count: int, noun: str) -> str:
    """A number with its noun.

    >>> plural(1, "image"), plural(2, "image")
    ('1 image', '2 images')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
