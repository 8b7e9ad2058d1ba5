"""What the file system of a run directory can do: a training relies on it, and does with less where something lacks."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cpixelcnn.checks.outcome import FAILED, OK, Check, attempt
from cpixelcnn.storage import exclusive, replace_link, write_text

_WRITTEN = 16 * 2**20  # bytes


def check_file_system(directory: Path) -> Iterator[Check]:
    """The checks of the place for runs, in a temporary folder in it (or in the nearest folder above that exists)."""
    existing = next(path for path in (directory, *directory.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".cpixelcnn-checks-", dir=existing) as name:
            scratch = Path(name)
            yield attempt("write and replace a file", lambda: _replacing(scratch))
            yield attempt("symbolic links", lambda: _links(scratch))
            yield attempt("locks", lambda: _locks(scratch))
            yield attempt("speed of writing", lambda: _writing(scratch))
    except OSError as error:
        yield Check("write and replace a file", FAILED, f"nothing can be written in {existing} ({error.strerror})")


def _replacing(scratch: Path) -> Check:
    for text in ("old", "new"):
        write_text(scratch / "file", text)
    whole = (scratch / "file").read_text(encoding="utf-8") == "new"
    return Check(
        "write and replace a file", OK if whole else FAILED, "in one step" if whole else "the old content stays"
    )


def _links(scratch: Path) -> Check:
    (scratch / "target").mkdir()
    replace_link(scratch / "link", "target")
    replace_link(scratch / "link", "target")
    return Check("symbolic links", OK, "they can be made and replaced")


def _locks(scratch: Path) -> Check:
    with exclusive(scratch / "lock"):
        soft = (scratch / "lock-soft").exists()
        try:
            with exclusive(scratch / "lock"):
                return Check("locks", FAILED, "two can hold the same lock: do not start two trainings in one directory")
        except BlockingIOError:
            pass
    detail = "by the existence of a file: remove it by hand after a kill" if soft else "by the operating system"
    return Check("locks", OK, detail)


def _writing(scratch: Path) -> Check:
    block = os.urandom(2**20)
    started = time.perf_counter()
    with (scratch / "block").open("wb") as file:
        for _ in range(_WRITTEN // len(block)):
            file.write(block)
        file.flush()
        written = time.perf_counter()
        os.fsync(file.fileno())
    ended = time.perf_counter()
    speed = _WRITTEN / 1e6 / (ended - started)
    return Check("speed of writing", OK, f"{speed:.3g} MB/s, of which fsync took {ended - written:.2g} s", speed)
