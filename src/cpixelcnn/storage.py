"""Files that are either whole or absent: atomic writes, digests, links that are replaced in one step."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpixelcnn.errors import first_line
from cpixelcnn.foreign_files import WEIGHT_BYTES, open_regular

_SYSTEM_MESSAGE = re.compile(r"([^: ][^:]*) \(os error (\d+)\)")  # as Rust gives it


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with writing(path):
            yield temporary
            share(temporary)
            flush_to_disk(temporary)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """While open, what cannot be written is an OSError that names `path`, whatever library writes.

    Safetensors (in Rust) and torch (in C++) have errors of their own for a full disk. Safetensors gives the system's
    message. Torch hides it, but where it writes to an open file of Python's, that file's error is the context of its.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    except Exception as error:
        if isinstance(error.__context__, OSError) and "inline_container" in str(error):
            raise OSError(error.__context__.errno, error.__context__.strerror, str(path)) from None
        if "inline_container" in str(error):
            raise OSError(errno.EIO, first_line(error), str(path)) from None
        if type(error).__name__ == "SafetensorError":
            message = _SYSTEM_MESSAGE.search(str(error))
            reason, number = (message[1], int(message[2])) if message else (first_line(error), errno.EIO)
            raise OSError(number, reason, str(path)) from None
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an image, uint8 (H, W, 3) or (H, W), atomically as PNG."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


@contextmanager
def exclusive(path: Path) -> Iterator[Path]:
    """Hold a lock file while open, which ends with this process; its path.

    On a file system without locks, the existence of another file, whose name ends with "-soft", is the lock. One that a
    killed process has left behind must then be removed by hand.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the file cannot be made, or is not a regular one.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if _has_locks(path.parent):
        lock: FileLock | SoftFileLock = FileLock(path, mode=0o666)
    else:
        path = path.with_name(path.name + "-soft")
        lock = SoftFileLock(path, mode=0o644)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BlockingIOError(errno.EAGAIN, "held by another process", str(path)) from None
    try:
        yield path
    finally:
        lock.release()


def _has_locks(directory: Path) -> bool:
    """Whether files of a directory can be locked; some network file systems cannot."""
    try:
        import fcntl
    except ImportError:
        return True  # Windows has locks of its own
    with tempfile.TemporaryFile(prefix=".lock.", suffix=".tmp", dir=directory) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def flush_to_disk(path: Path) -> None:
    """Have the operating system put a file or directory on the disk itself (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot do this for directories
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        UnreadableFileError: it is missing, no regular file, or larger than any weights.
    """
    with open_regular(path, WEIGHT_BYTES) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` (relative to its directory), replacing an older one in one step."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(target)
        os.replace(temporary, link)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """Remove a file, a folder with its content, or a link without what it leads to, as far as that is possible."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def share(path: Path) -> None:
    """Give a file that was made for its owner alone the permissions that new files usually get."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
