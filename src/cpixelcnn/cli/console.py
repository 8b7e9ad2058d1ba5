"""Talking to people and to scripts: results on stdout, all else on stderr.

A reader who goes away (`| head`) never stops the work. A stdout that cannot be written otherwise, such as a file on a
full disk, is an error, since the results are lost. No text of foreign origin reaches the terminal as a command to it.
"""

from __future__ import annotations

import json
import logging
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment

from cpixelcnn import __version__
from cpixelcnn import progress as library_progress
from cpixelcnn.errors import OutputError

PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal

json_written = False
_json_rows: int | None = None  # of the array that is being written
silent = False  # true in all but the first of several processes: none of them speaks, but of an error
quiet = False  # true after --quiet: nothing but results, warnings and errors
verbose = False  # true after --verbose


class _Console(Console):
    """A console whose reader may go away (Rich would end the program), and that shows no control characters."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


# Control characters of both sets (but tabs and line ends), those that change the direction of writing, and the byte
# order mark, which nobody sees.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters become replacement characters.

    >>> printable("koala\\x1b[2J").encode("ascii", "replace")
    b'koala?[2J'
    """
    return _UNPRINTABLE.sub("\ufffd", text)


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


def info(text: str) -> None:
    """A line for people on stderr, unless they want quiet; brackets in it are printed as they are."""
    if not silent and not quiet:
        error(text)


def error(text: str, *, style: str | None = None) -> None:
    """The same, whether or not the console is silent."""
    with suppress(OSError, ValueError):  # a closed stderr must not end the work
        stderr().print(escape(text), style=style)


def warn(text: str) -> None:
    """A warning on stderr."""
    if not silent:
        error(f"warning: {with_flags(text)}", style="yellow")


def set_quiet(asked: bool) -> None:
    """What `--quiet` does."""
    global quiet
    quiet = quiet or asked


def set_verbose(asked: bool) -> None:
    """What `--verbose` does: messages of the library, and the versions that are at work."""
    global verbose
    if not asked or verbose:
        return
    verbose = True
    logging.basicConfig(format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("cpixelcnn").setLevel(logging.DEBUG)
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "numpy")]
    info(f"versions   cpixelcnn {__version__}, Python {platform.python_version()}, {', '.join(versions)}")
    info(f"platform   {platform.platform()}")


def print_result(*renderables: RenderableType) -> None:
    """Results for people on stdout.

    Raises:
        OutputError: stdout cannot be written.
    """
    if not silent:
        with _written():
            stdout().print(*renderables, sep="\n")


def write_json(document: dict[str, Any]) -> None:
    """The one JSON document on stdout; refuses NaN and a second document. It ends one that `begin_json` has begun.

    Raises:
        OutputError: stdout cannot be written.
    """
    global json_written, _json_rows
    if silent:
        return
    assert not json_written, "stdout holds one document already"
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if _json_rows is not None:
        text = "\n  ],\n" + text.removeprefix("{\n")
    json_written, _json_rows = True, None
    _write(text)


def begin_json(document: dict[str, Any], array: str) -> None:
    """Begin the document with these keys and an array, for `add_json`; `write_json` ends it, also after an error.

    Raises:
        OutputError: stdout cannot be written.
    """
    global _json_rows
    if silent:
        return
    assert not json_written, "stdout holds one document already"
    _json_rows = 0
    text = json.dumps(document, indent=2, allow_nan=False).removesuffix("\n}")
    _write(f'{text},\n  "{array}": [')


def add_json(rows: Iterable[dict[str, Any]]) -> None:
    """Write elements of the array that `begin_json` has begun, each in a line.

    Raises:
        OutputError: stdout cannot be written.
    """
    global _json_rows
    if silent:
        return
    assert _json_rows is not None, "no array has been begun"
    lines = [json.dumps(row, allow_nan=False) for row in rows]
    _write("".join(f"{',' if _json_rows + i else ''}\n    {line}" for i, line in enumerate(lines)))
    _json_rows += len(lines)


def _write(text: str) -> None:
    with _written():
        sys.stdout.write(text)
        sys.stdout.flush()


def flush() -> None:
    """Write what Python still holds of stdout.

    Raises:
        OutputError: stdout cannot be written.
    """
    with _written():
        sys.stdout.flush()


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        pass  # whoever read our output has seen enough
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"the output could not be written ({reason}); choose another place for it") from None


@contextmanager
def activity(
    name: str, *, unit: str = "", rate: tuple[str, int] | None = None, count: int | None = None
) -> Iterator[library_progress.Progress]:
    """Show the progress of one piece of work on stderr: a bar on a terminal, a line now and then elsewhere.

    Args:
        name: of the work.
        unit: of its steps, shown behind their number.
        rate: what to show the speed in, and how many steps one of it takes: ("images/s", rows of an image).
        count: how many things the work is about, to be shown in place of its steps (an image may take several).
    """
    if silent or quiet or not stderr().is_terminal:
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
            speed = _speed(done, time.monotonic() - started, rate)
            if count is not None:
                done, total = done * count // max(total, 1), count
            bar.update(task, completed=done, total=total, speed=speed)

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


def duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
