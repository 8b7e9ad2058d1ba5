"""`best` and `last` of a run: which of its checkpoints they mean.

Each is a symbolic link into `checkpoints/`. On a file system without such links it is a small file with the name of the
checkpoint. In a run that was copied with its links followed (`cp -rL`, `scp -r`, most archives) it is a directory, a
copy of the checkpoint. All three are read; what is written is the first that the file system can have.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from cpixelcnn.errors import CheckpointError
from cpixelcnn.foreign_files import UnreadableFileError, read_text
from cpixelcnn.runs.layout import CHECKPOINTS, MANIFEST, checkpoint_name, is_checkpoint_name, read_manifest
from cpixelcnn.storage import remove, replace_link, write_text

BEST, LAST = "best", "last"
_LONGEST_NAME = 100


def pointed(run: Path, name: str) -> Path | None:
    """The checkpoint that `best` or `last` of a run means, if there is one: in `checkpoints/`, or wherever it lies."""
    pointer = run / name
    meant = _name_in(pointer)
    if is_checkpoint_name(meant) and (run / CHECKPOINTS / meant).is_dir():
        return run / CHECKPOINTS / meant
    return pointer if (pointer / MANIFEST).is_file() else None


def followed(path: Path) -> Path:
    """The checkpoint that a path means if it ends with `best` or `last` of a run; any other path as it is."""
    return pointed(path.parent, path.name) or path if path.name in (BEST, LAST) else path


def point(run: Path, name: str, checkpoint: str) -> None:
    """Have `best` or `last` mean the checkpoint of this name, in one step where it was a link or a file before.

    Raises:
        OSError: it cannot be written, or is a directory of the user's own.
    """
    pointer = run / name
    if pointer.is_dir() and not pointer.is_symlink():
        _give_up_copy(run, pointer)
    try:
        replace_link(pointer, f"{CHECKPOINTS}/{checkpoint}")
    except (OSError, NotImplementedError):
        write_text(pointer, f"{checkpoint}\n")


def _name_in(pointer: Path) -> str:
    """The name of a checkpoint that a pointer holds; it may be none."""
    if pointer.is_symlink():
        target = Path(os.readlink(pointer))
        return target.name if target.parent == Path(CHECKPOINTS) else ""
    try:
        if pointer.is_dir():
            return checkpoint_name(int(read_manifest(pointer).get("step", 0)))
        return read_text(pointer, _LONGEST_NAME).strip()
    except (CheckpointError, UnreadableFileError, TypeError, ValueError):
        return ""


def _give_up_copy(run: Path, copy: Path) -> None:
    """Remove the copy of a checkpoint; where the checkpoint itself is not there, the copy takes its place."""
    name = _name_in(copy)
    if not name:
        raise FileExistsError(errno.EEXIST, "it is a folder, and no checkpoint", str(copy))
    checkpoint = run / CHECKPOINTS / name
    outgoing = checkpoint if not checkpoint.exists() else copy.with_name(f".{copy.name}.{os.getpid()}.tmp")
    os.replace(copy, outgoing)
    if outgoing != checkpoint:
        remove(outgoing)
