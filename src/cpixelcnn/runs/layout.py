"""What lies where in a run directory.

    runs/NAME/  config.json  metrics.csv  metrics.jsonl  samples/  best  last
                checkpoints/step-00012000/{model.safetensors, ema.safetensors, trainer.pt, config.json, manifest.json}

A checkpoint is a directory that was renamed into place after everything in it was written; its manifest lists the
SHA-256 of every file. `best` and `last` are links to checkpoints.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cpixelcnn.errors import CheckpointError
from cpixelcnn.storage import file_digest

RUNS = Path("runs")
CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
WEIGHTS, EMA_WEIGHTS, TRAINER = "model.safetensors", "ema.safetensors", "trainer.pt"
MANIFEST_VERSION = 1
_STEP = re.compile(r"(\.outgoing-)?step-(\d+)")  # outgoing: about to be replaced when a save was killed


def checkpoint_name(step: int) -> str:
    """Directory name of the checkpoint at a step; sorts by step up to 10^8 steps, and `checkpoint_paths` beyond."""
    return f"step-{step:08d}"


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
    """The manifest of a checkpoint.

    Raises:
        CheckpointError: missing, unreadable, or of a newer format.
    """
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["manifest_version"]
        manifest["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{checkpoint} has no readable {MANIFEST} ({type(error).__name__}); it is damaged"
        ) from None
    if not isinstance(version, int) or version > MANIFEST_VERSION:
        raise CheckpointError(
            f"{checkpoint} has format {version}, newer than this version's {MANIFEST_VERSION}; upgrade"
        )
    return dict(manifest)


def verify_checkpoint(checkpoint: Path, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Compare the files of a checkpoint (all, or `only` these) with their digests; returns the manifest.

    Raises:
        CheckpointError: names the file that is missing or differs.
    """
    manifest = read_manifest(checkpoint)
    for name, digest in manifest["files"].items():
        if only is not None and name not in only:
            continue
        try:
            actual = file_digest(checkpoint / name)
        except OSError:
            raise CheckpointError(f"{checkpoint / name} is missing or unreadable; the checkpoint is damaged") from None
        if actual != digest:
            raise CheckpointError(f"{checkpoint / name} differs from its checksum; the checkpoint is damaged")
    return manifest
