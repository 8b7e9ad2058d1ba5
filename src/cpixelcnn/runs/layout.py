"""What lies where in a run directory, and which weight file a `--model` argument means.

    runs/NAME/  config.json  metrics.csv  metrics.jsonl  samples/  best  last
                checkpoints/step-00012000/{model.safetensors, ema.safetensors, trainer.pt, config.json, manifest.json}

A checkpoint is a directory that was renamed into place after everything in it was written; its manifest lists the
SHA-256 of every file. `best` and `last` are links to checkpoints.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from dataclasses import dataclass
from importlib import resources
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


@dataclass(frozen=True)
class ModelFile:
    """The weight file that a `--model` argument means.

    Attributes:
        path: the weight file.
        description: what was chosen and why, for people.
        warnings: damaged checkpoints that were passed over.
    """

    path: Path
    description: str
    warnings: tuple[str, ...] = ()


def shipped_models() -> dict[str, Path]:
    """Weight files that come with the package, by name."""
    directory = Path(str(resources.files("cpixelcnn"))) / "pretrained"
    return {path.stem: path for path in sorted(directory.glob("*.safetensors"))}


def find_model(reference: str | Path | None = None, *, ema: bool = True, runs: Path = RUNS) -> ModelFile:
    """Resolve a model by run directory, checkpoint directory, weight file or name of a shipped model.

    Without a reference: the best checkpoint of the newest finished run under `runs`, else the shipped model.

    Raises:
        CheckpointError: nothing of that name, or nothing undamaged in it.
    """
    shipped = shipped_models()
    if reference is None:
        run = newest_run(runs, finished=True)
        if run is not None:
            return _in_run(run, ema, "newest finished run")
        if not shipped:
            raise CheckpointError(
                "there is no finished run under runs/ and no shipped model; train one, or pass --model"
            )
        name = next(iter(shipped))
        return ModelFile(shipped[name], f"shipped model {name!r} (no finished run under {runs}/)")
    path = Path(reference)
    if os.path.isfile(path):  # unlike Path.is_file, no error for a name that is too long
        if (path.parent / MANIFEST).is_file():
            verify_checkpoint(path.parent, only=(path.name,))
        return ModelFile(path, f"weight file {path}")
    if os.path.isdir(path / CHECKPOINTS):
        return _in_run(path, ema, "run")
    if os.path.isfile(path / WEIGHTS) or os.path.isfile(path / MANIFEST):
        return ModelFile(_in_checkpoint(path, ema), f"checkpoint {path}")
    if str(reference) in shipped:
        return ModelFile(shipped[str(reference)], f"shipped model {str(reference)!r}")
    if os.path.isdir(path):
        raise CheckpointError(f"{path} is neither a run nor a checkpoint directory; check --model")
    close = difflib.get_close_matches(str(reference), shipped, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"shipped models: {', '.join(shipped) or 'none'}"
    raise CheckpointError(f"there is no model {str(reference)!r}; {hint}")


def newest_run(runs: Path = RUNS, *, finished: bool = False) -> Path | None:
    """The run under `runs` whose last checkpoint is the newest (of the finished ones only, if asked), or None."""
    newest: tuple[float, Path] | None = None
    for manifest in runs.glob(f"*/last/{MANIFEST}"):
        run = manifest.parent.parent
        try:
            if finished and not read_manifest(run / "last").get("finished"):
                continue
            key = (manifest.stat().st_mtime, run)
        except (CheckpointError, OSError):
            continue
        newest = max(newest, key) if newest else key
    return newest[1] if newest else None


def _in_run(run: Path, ema: bool, kind: str) -> ModelFile:
    """The best checkpoint of a run; where that is damaged the last one, and the others from the newest on."""
    warnings: list[str] = []
    candidates = [run / "best", run / "last", *reversed(checkpoint_paths(run))]
    for checkpoint in dict.fromkeys(path.resolve() for path in candidates if path.is_dir()):
        try:
            weights = _in_checkpoint(checkpoint, ema)
        except CheckpointError as error:
            warnings.append(str(error))
            continue
        kept = "EMA" if weights.name == EMA_WEIGHTS else "raw"
        return ModelFile(weights, f"{kind} {run}, checkpoint {checkpoint.name}, {kept} weights", tuple(warnings))
    detail = f": {'; '.join(warnings)}" if warnings else ""
    raise CheckpointError(f"{run} holds no usable checkpoint{detail}")


def _in_checkpoint(checkpoint: Path, ema: bool) -> Path:
    files = read_manifest(checkpoint)["files"]
    name = EMA_WEIGHTS if ema and EMA_WEIGHTS in files else WEIGHTS
    verify_checkpoint(checkpoint, only=(name,))
    return checkpoint / name
