"""What lies where in a run directory.

    runs/NAME/  config.json  metrics.csv  metrics.jsonl  samples/  best  last  [reference.safetensors]
                checkpoints/step-00012000/{model.safetensors, ema.safetensors, trainer.pt, config.json, manifest.json}

A checkpoint is a directory that was renamed into place after everything in it was written; its manifest names its
files, no other ones, with their SHA-256. `best` and `last` name checkpoints (see `pointers`). A training that is
compared with where it began (`training.alignment`) keeps that model as its reference.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cpixelcnn.errors import CheckpointError
from cpixelcnn.foreign_files import UnreadableFileError, read_json_object
from cpixelcnn.storage import file_digest

RUNS = Path("runs")
CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
RESULTS = "results.json"
REFERENCE = "reference.safetensors"
WEIGHTS, EMA_WEIGHTS, TRAINER = "model.safetensors", "ema.safetensors", "trainer.pt"
FILES = (WEIGHTS, EMA_WEIGHTS, TRAINER, "config.json")  # of a checkpoint, beside the manifest
MANIFEST_VERSION = 1
_STEP = re.compile(r"(\.outgoing-)?step-(\d+)")  # outgoing: about to be replaced when a save was killed
_SHA256 = re.compile("[0-9a-f]{64}")


def checkpoint_name(step: int) -> str:
    """Directory name of the checkpoint at a step; sorts by step up to 10^8 steps, and `checkpoint_paths` beyond."""
    return f"step-{step:08d}"


def is_checkpoint_name(name: str) -> bool:
    """Whether a name is that of a checkpoint.

    >>> is_checkpoint_name("step-00012000"), is_checkpoint_name("../step-00012000")
    (True, False)
    """
    match = _STEP.fullmatch(name)
    return match is not None and not match[1]


def checkpoint_paths(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest step first; anything else in the directory is ignored."""
    found = []
    if (run / CHECKPOINTS).is_dir():
        for path in (run / CHECKPOINTS).iterdir():
            match = _STEP.fullmatch(path.name)
            if match and match[1] and (path.parent / path.name.removeprefix(".outgoing-")).exists():
                continue
            if match and path.is_dir():
                found.append((int(match[2]), path))
    return [path for _, path in sorted(found)]


def read_manifest(checkpoint: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, which names exactly the files of a checkpoint with their SHA-256.

    Raises:
        CheckpointError: missing, unreadable, incomplete, or of a newer format.
    """
    try:
        manifest = read_json_object(checkpoint / MANIFEST)
    except UnreadableFileError as error:
        raise CheckpointError(f"{checkpoint} has no readable {MANIFEST} ({error.reason}); it is damaged") from None
    version, files = manifest.get("manifest_version"), manifest.get("files")
    if type(version) is int and version > MANIFEST_VERSION:
        raise CheckpointError(
            f"{checkpoint} has format {version}, newer than this version's {MANIFEST_VERSION}; upgrade"
        )
    if version != MANIFEST_VERSION or not isinstance(files, dict) or set(files) != set(FILES):
        raise CheckpointError(f"{checkpoint / MANIFEST} does not name the files of a checkpoint; it is damaged")
    if not all(isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in files.values()):
        raise CheckpointError(f"{checkpoint / MANIFEST} has a checksum that is none; it is damaged")
    return manifest


def verify_checkpoint(checkpoint: Path, only: tuple[str, ...] = FILES) -> dict[str, Any]:
    """Compare the files of a checkpoint (all, or `only` these) with their digests; returns the manifest.

    Raises:
        CheckpointError: names the file that is missing or differs.
    """
    manifest = read_manifest(checkpoint)
    for name in FILES:
        if name not in only:
            continue
        try:
            actual = file_digest(checkpoint / name)
        except OSError as error:
            raise CheckpointError(f"{error}; the checkpoint is damaged") from None
        if actual != manifest["files"][name]:
            raise CheckpointError(f"{checkpoint / name} differs from its checksum; the checkpoint is damaged")
    return manifest


def read_results(run: Path) -> dict[str, Any]:
    """The `results.json` of a run; empty where there is none, or it is damaged."""
    try:
        return read_json_object(run / RESULTS)
    except UnreadableFileError:
        return {}
