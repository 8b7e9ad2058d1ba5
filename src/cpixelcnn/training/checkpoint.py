"""Checkpoints that survive: written aside, verified, renamed into place, and never the only copy.

The trainer's part (`trainer.pt`) holds plain types and tensors and is only ever loaded with `weights_only=True`;
there is no random state in it, since all randomness is a function of (seed, images seen).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.model.weights import save_weights
from cpixelcnn.runs import layout as runs
from cpixelcnn.runs.pointers import BEST, LAST, point
from cpixelcnn.storage import exclusive, file_digest, flush_to_disk, remove, write_json, writing
from cpixelcnn.training.pruning import prune
from cpixelcnn.training.restoring import read_training
from cpixelcnn.training.state import TrainProgress, TrainState

LOCK = ".lock"


@contextmanager
def locked(run: Path, warn: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold a run directory for writing; `warn` is told where the file system has no locks for that.

    Raises:
        ConfigError: the directory cannot be written to, or another training holds it.
    """
    with ExitStack() as held:
        try:
            (run / runs.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(exclusive(run / LOCK))
        except BlockingIOError as error:
            killed = "" if Path(error.filename).name == LOCK else f" (or delete {error.filename}, if it was killed)"
            raise ConfigError(
                f"another training is writing to {run}; wait for it{killed}, or choose another `run`"
            ) from None
        except OSError as error:
            raise ConfigError(f"{run} cannot be written to ({error.strerror}); choose another `run`") from None
        if lock.name != LOCK:
            warn(f"this file system has no locks; {lock} keeps other trainings out (delete it if this one is killed)")
        yield


def save_checkpoint(
    run: Path, config: RunConfig, state: TrainState, *, finished: bool, warn: Callable[[str], None] = lambda _: None
) -> Path:
    """Write a checkpoint of the present state, point `last` (and `best`) to it, and prune old ones.

    Once it is written and verified it is saved, whatever becomes of the rest: `warn` is told of that.

    Raises:
        OSError: the disk is full or gone; the older checkpoints are untouched and nothing half-written is left.
    """
    progress = state.progress
    directory = run / runs.CHECKPOINTS
    final = directory / runs.checkpoint_name(progress.step)
    temporary, outgoing = directory / f".incoming-{final.name}", directory / f".outgoing-{final.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        save_weights(temporary / runs.WEIGHTS, state.model.state_dict(), config)
        save_weights(temporary / runs.EMA_WEIGHTS, state.ema.model.state_dict(), config)
        stored = {"optimiser": state.optimiser.state_dict(), "progression": asdict(progress)}
        with writing(final), (temporary / runs.TRAINER).open("wb") as file:
            torch.save(stored, file)
        write_json(temporary / "config.json", config.to_json())
        _write_manifest(temporary, progress, finished)
        if final.exists():  # the same step, saved again because validation has ended since
            remove(outgoing)
            os.replace(final, outgoing)
        os.replace(temporary, final)
        remove(outgoing)
        flush_to_disk(directory)
    except BaseException:
        if outgoing.exists() and not final.exists():
            os.replace(outgoing, final)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    runs.verify_checkpoint(final)
    try:
        point_to_checkpoints(run, progress, final)
        prune(run, config.train.keep_checkpoints, progress)
    except OSError as error:
        warn(f"{final.name} is saved, but {error.filename or run} cannot be changed ({error.strerror})")
    return final


def _write_manifest(directory: Path, progress: TrainProgress, finished: bool) -> None:
    for name in runs.FILES:
        flush_to_disk(directory / name)
    manifest = {
        "manifest_version": runs.MANIFEST_VERSION,
        "step": progress.step,
        "epoch": progress.epoch,
        "images_seen": progress.images_seen,
        "finished": finished,
        "stale_validations": progress.stale_validations,
        "saved_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "files": {name: file_digest(directory / name) for name in runs.FILES},
    }
    write_json(directory / runs.MANIFEST, manifest)


def point_to_checkpoints(run: Path, progress: TrainProgress, last: Path) -> None:
    """Make `last` and `best` mean the checkpoints that the training names.

    Raises:
        OSError: they cannot be written.
    """
    point(run, LAST, last.name)
    best = run / runs.CHECKPOINTS / runs.checkpoint_name(progress.best_step)
    if progress.best_step >= 0 and best.is_dir():
        point(run, BEST, best.name)


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint that can be resumed from, and the damaged ones that were passed over."""

    path: Path
    config: RunConfig
    manifest: dict[str, Any]
    warnings: tuple[str, ...]


def find_checkpoint(where: Path) -> FoundCheckpoint | None:
    """The newest undamaged checkpoint of a run directory, or the checkpoint directory itself; None if there is none.

    Raises:
        CheckpointError: there are checkpoints, but none is undamaged.
    """
    candidates = [where] if (where / runs.MANIFEST).is_file() else runs.checkpoint_paths(where)[::-1]
    warnings: list[str] = []
    for path in candidates:
        try:
            manifest = runs.verify_checkpoint(path)
            facts = {"epoch": int, "images_seen": int, "finished": bool, "stale_validations": int}
            optional = {"stale_validations": 0}  # absent in checkpoints of earlier versions
            if not all(type({**optional, **manifest}.get(name)) is kind for name, kind in facts.items()):
                raise CheckpointError(f"{path} has an incomplete {runs.MANIFEST}; it is damaged")
            return FoundCheckpoint(path, read_training(path).config, manifest, tuple(warnings))
        except CheckpointError as error:
            warnings.append(f"{error}; trying the one before it")
    if candidates:
        raise CheckpointError(f"no checkpoint in {where} is undamaged: " + "; ".join(warnings))
    return None
