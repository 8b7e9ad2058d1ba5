"""Checkpoints that survive: written aside, verified, renamed into place, and never the only copy.

The trainer's part (`trainer.pt`) holds plain types and tensors and is only ever loaded with `weights_only=True`;
there is no random state in it, since all randomness is a function of (seed, images seen).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.runs import layout as runs
from cpixelcnn.runs.weights import load_weights, save_weights
from cpixelcnn.storage import file_digest, flush_to_disk, replace_link, write_json
from cpixelcnn.training.ema import ExponentialMovingAverage

KEEP_NEWEST = 2  # besides the best; the older of the two is what a damaged newest one falls back to


@dataclass
class TrainProgress:
    """Where a training is; together with weights, average and optimiser, all that a resumed run needs.

    Attributes:
        step: optimiser steps so far (skipped ones count).
        images_seen: the clock of the training; order, augmentation and dropout are functions of it.
        train_images: images in an epoch, without which the clock means nothing.
        epoch: epochs that are complete, validation included.
        epoch_bits, epoch_norm: sums over the images of the running epoch of bits/dim and of their step's gradient norm.
        epoch_images: how many images these sums are over (those of skipped steps are not).
        epoch_seconds: time spent in the steps of the running epoch.
        bad_steps: steps skipped so far because their loss or gradient was not finite.
        seconds: time spent in steps since the start.
        lr: learning rate of the last step.
        best: the validation figures of the best checkpoint, and `best_step` its step; empty before the first.
        stale_validations: how many validations there were since, none of them better.
    """

    step: int = 0
    images_seen: int = 0
    train_images: int = 0
    epoch: int = 0
    epoch_bits: float = 0.0
    epoch_norm: float = 0.0
    epoch_images: int = 0
    epoch_seconds: float = 0.0
    bad_steps: int = 0
    seconds: float = 0.0
    lr: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    best_step: int = -1
    stale_validations: int = 0


@dataclass
class TrainState:
    """What changes while training."""

    model: PixelCNN
    ema: ExponentialMovingAverage
    optimiser: torch.optim.Optimizer
    progression: TrainProgress


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run directory for writing.

    Raises:
        ConfigError: the directory cannot be written to, or another training holds it.
    """
    try:
        (run / runs.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        lock = (run / ".lock").open("a")
    except OSError as error:
        raise ConfigError(
            f"{run} cannot be written to ({error.strerror}); choose another directory with --out"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another training is writing to {run}; wait for it, or choose another --out") from None
        yield


def save_checkpoint(run: Path, config: RunConfig, trainee: TrainState, *, finished: bool) -> Path:
    """Write a checkpoint of the present state, point `last` (and `best`) to it, and prune old ones.

    Raises:
        OSError: the disk is full or gone; the older checkpoints are untouched and nothing half-written is left.
    """
    progression = trainee.progression
    directory = run / runs.CHECKPOINTS
    final = directory / runs.checkpoint_name(progression.step)
    temporary, outgoing = directory / f".incoming-{final.name}", directory / f".outgoing-{final.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        save_weights(temporary / runs.WEIGHTS, trainee.model.state_dict(), config)
        save_weights(temporary / runs.EMA_WEIGHTS, trainee.ema.model.state_dict(), config)
        state = {"optimiser": trainee.optimiser.state_dict(), "progression": asdict(progression)}
        torch.save(state, temporary / runs.TRAINER)
        write_json(temporary / "config.json", config.to_json())
        _write_manifest(temporary, progression, finished)
        if final.exists():  # the same step, saved again because validation has ended since
            shutil.rmtree(outgoing, ignore_errors=True)
            os.replace(final, outgoing)
        os.replace(temporary, final)
        shutil.rmtree(outgoing, ignore_errors=True)
        flush_to_disk(directory)
    except BaseException:
        if outgoing.exists() and not final.exists():
            os.replace(outgoing, final)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    runs.verify_checkpoint(final)
    point_links(run, progression, final)
    prune(run)
    return final


def _write_manifest(directory: Path, progression: TrainProgress, finished: bool) -> None:
    names = (runs.WEIGHTS, runs.EMA_WEIGHTS, runs.TRAINER, "config.json")
    for name in names:
        flush_to_disk(directory / name)
    manifest = {
        "manifest_version": runs.MANIFEST_VERSION,
        "step": progression.step,
        "epoch": progression.epoch,
        "images_seen": progression.images_seen,
        "finished": finished,
        "stale_validations": progression.stale_validations,
        "saved_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "files": {name: file_digest(directory / name) for name in names},
    }
    write_json(directory / runs.MANIFEST, manifest)


def point_links(run: Path, progression: TrainProgress, last: Path) -> None:
    """Make `last` and `best` point to the checkpoints that the progression names."""
    replace_link(run / "last", f"{runs.CHECKPOINTS}/{last.name}")
    best = run / runs.CHECKPOINTS / runs.checkpoint_name(progression.best_step)
    if progression.best_step >= 0 and best.is_dir():
        replace_link(run / "best", f"{runs.CHECKPOINTS}/{best.name}")


def prune(run: Path) -> None:
    """Remove all checkpoints but the newest two and the one that `best` points to, and what killed saves have left."""
    for leftover in (run / runs.CHECKPOINTS).glob(".incoming-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    kept = {path.resolve() for path in (run / "best", run / "last") if path.exists()}
    for checkpoint in runs.checkpoint_paths(run)[:-KEEP_NEWEST]:
        if checkpoint.resolve() not in kept:
            shutil.rmtree(checkpoint)


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
            config, _ = load_weights(path / runs.WEIGHTS)
            facts = {"epoch": int, "images_seen": int, "finished": bool}
            if not all(type(manifest.get(name)) is kind for name, kind in facts.items()):
                raise CheckpointError(f"{path} has an incomplete {runs.MANIFEST}; it is damaged")
            return FoundCheckpoint(path, config, manifest, tuple(warnings))
        except CheckpointError as error:
            warnings.append(f"{error}; trying the one before it")
    if candidates:
        raise CheckpointError(f"no checkpoint in {where} is undamaged: " + "; ".join(warnings))
    return None


def restore(checkpoint: Path, trainee: TrainState) -> None:
    """Load weights, average, optimiser and progression into a trainee of the same architecture.

    Raises:
        CheckpointError: a part does not fit or holds anything but plain types and tensors.
    """
    try:
        trainee.model.load_state_dict(load_weights(checkpoint / runs.WEIGHTS)[1])
        trainee.ema.model.load_state_dict(load_weights(checkpoint / runs.EMA_WEIGHTS)[1])
        state = torch.load(checkpoint / runs.TRAINER, map_location="cpu", weights_only=True)
        trainee.optimiser.load_state_dict(state["optimiser"])
        trainee.progression = TrainProgress(**state["progression"])
    except CheckpointError:
        raise
    except Exception as error:  # torch.load raises whatever the bytes make it raise
        reason = str(error).split("\n")[0][:200]
        raise CheckpointError(f"{checkpoint} cannot be resumed from ({type(error).__name__}: {reason})") from None
