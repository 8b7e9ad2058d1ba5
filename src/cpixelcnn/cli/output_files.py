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


def check_folder(path: Path | None, flag: str) -> None:
    """Refuse a place where no folder can be made, before the work whose result would be lost.

    Raises:
        ConfigError: names the option and says why.
    """
    if path is None:
        return
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ConfigError(f"{flag} {path} cannot be made, since {existing} is no folder that can be written to")


@contextmanager
def unwritable(path: Path, flag: str) -> Iterator[None]:
    """While open, an error of the file system names the option.

    Raises:
        ConfigError: something cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{flag} {path} cannot be written ({reason}); choose another place") from None


@contextmanager
def writing(path: Path, flag: str) -> Iterator[None]:
    """While open, the file is written; an error of the file system names the option.

    Raises:
        ConfigError: the file cannot be written.
    """
    with unwritable(path, flag):
        yield
    console.info(f"written    {path}")


def claim_folder(folder: Path, flag: str, *markers: str) -> None:
    """Make a folder for the files of a command, or take one that an earlier call has filled.

    Args:
        folder: its path.
        flag: the option that names it.
        markers: files of which the command writes one into each such folder, by which it is known again.

    Raises:
        ConfigError: it holds other things, is no folder, or cannot be made or written.
    """
    with unwritable(folder, flag):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not any((folder / marker).is_file() for marker in markers):
            raise ConfigError(
                f"{flag} {folder} holds files that are not from an earlier call of this command; choose an empty folder"
            )
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{flag} {folder} is not writable; choose another place")
