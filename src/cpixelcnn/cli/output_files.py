"""Files that a command writes beside what it prints: refused before the work where they cannot be, named when done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cpixelcnn.cli import console
from cpixelcnn.errors import ConfigError


def check_output(path: Path | None, flag: str) -> None:
    """Refuse a place where no file can be written, before the work whose result would be lost.

    Raises:
        ConfigError: names the option and says why.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{flag} {path} is a folder; name a file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{flag} {path} cannot be written (there is no such folder, or it is not yours)")


@contextmanager
def writing(path: Path, flag: str) -> Iterator[None]:
    """While open, the file is written; an error of the file system names the option.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{flag} {path} cannot be written ({reason}); choose another place") from None
    console.info(f"written    {path}")
