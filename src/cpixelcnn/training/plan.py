"""From what was asked for to what will be done: a fresh run, or one that goes on from a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpixelcnn import presets
from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.registry import dataset_info
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.runs.layout import CHECKPOINTS, MANIFEST, RUNS, checkpoint_paths, newest_run
from cpixelcnn.training.checkpoint import find_checkpoint
from cpixelcnn.training.warm_start import inherited_architecture, read_source

_MAY_CHANGE_IN_DATA = {"data_dir", "skip_bad"}  # where the same images lie, and whether to be strict about them
_MUST_STAY_IN_TRAINING = {"seed", "ema_decay", "init_from"}


@dataclass(frozen=True)
class Request:
    """The fields that the user set, by a preset or one by one; everything else takes its default."""

    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None

    def with_preset(self, name: str) -> Request:
        """This request on top of a preset's fields."""
        base = presets.preset(name)
        return Request({**base.model, **self.model}, self.data, {**base.train, **self.train}, name)


@dataclass(frozen=True)
class Plan:
    """What a training will do.

    Attributes:
        config: complete but for what the images decide (sizes and classes), where there is no checkpoint.
        run: the run directory.
        checkpoint: where to go on from, or None.
        images_seen: how far that checkpoint is.
        finish: where the checkpoint is finished: that it is, why, and what to pass to go on all the same.
        warnings: damaged checkpoints that were passed over.
    """

    config: RunConfig
    run: Path
    checkpoint: Path | None = None
    images_seen: int = 0
    finish: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return bool(self.finish)


def make_plan(request: Request, *, out: Path | None = None, resume: str | None = None) -> Plan:
    """Decide on run directory, configuration and checkpoint.

    Args:
        request: what the user set.
        out: the run directory; a new numbered one under runs/ unless given.
        resume: None for a fresh run; "auto" to go on in `out` (or in the newest run) where there is something to go
            on from, else to start; or the path of a run or checkpoint directory.

    Raises:
        ConfigError: the directory holds a run already, or a field contradicts the checkpoint's.
        CheckpointError: nothing to resume from at that path, or nothing undamaged.
    """
    if resume is None:
        if out is not None and checkpoint_paths(out):
            raise ConfigError(f"{out} already holds a run; go on with --resume {out}, or choose another --out")
        return _fresh(request, out)
    where = out or newest_run() if resume == "auto" else Path(resume)
    if where is None or (resume == "auto" and not checkpoint_paths(where)):
        return _fresh(request, out)
    if not where.is_dir():
        raise CheckpointError(f"--resume {where}: there is no such directory")
    if (where / MANIFEST).is_file():
        where = where.resolve()  # `last` and `best` are links
        if where.parent.name != CHECKPOINTS:
            raise CheckpointError(
                f"--resume {where}: a checkpoint goes on within a run; put it into RUN/{CHECKPOINTS}/ and resume RUN"
            )
    found = find_checkpoint(where)
    if found is None:
        raise CheckpointError(f"--resume {where}: it holds no checkpoint; start anew with --out {where}")
    run = where if checkpoint_paths(where) else found.path.parent.parent
    if found.path.resolve() != checkpoint_paths(run)[-1].resolve() and resume != "auto" and where != run:
        raise CheckpointError(
            f"--resume {where}: {run} has later checkpoints; resume the run, or copy this one elsewhere"
        )
    if out is not None and out.resolve() != run.resolve():
        raise ConfigError(f"--out {out} is another directory than that of --resume {resume}; leave it out")
    config = _merge(found.config, request)
    finish = _finish(config.train, found.manifest) if found.manifest["finished"] else ""
    return Plan(config, run, found.path, int(found.manifest["images_seen"]), finish, found.warnings)


def _finish(options: TrainConfig, manifest: Mapping[str, Any]) -> str:
    """Why a finished checkpoint is so with these options as well; empty if it is not."""
    if int(manifest["epoch"]) >= options.epochs:
        return f"is finished ({options.epochs} epochs); pass a larger --epochs to go on"
    stale = int(manifest.get("stale_validations", 0))
    if 0 < options.patience <= stale:
        return f"has stopped early ({stale} validations without a new best); pass a larger --patience, or 0, to go on"
    return ""


def complete(config: RunConfig, train_set: ImageSet) -> RunConfig:
    """Fill in what the images decide: channels, height, width, classes and their frequencies."""
    _, channels, height, width = train_set.images.shape
    model = dataclasses.replace(
        config.model,
        image_channels=channels,
        image_height=height,
        image_width=width,
        classes=train_set.classes,
        class_counts=train_set.class_counts,
    )
    return dataclasses.replace(config, model=model)


def _fresh(request: Request, out: Path | None) -> Plan:
    name = request.preset or presets.DEFAULT_PRESET
    full = request if request.preset else request.with_preset(name)
    fusion = {key: full.model.get(key, "") for key in ("early_fusion", "film")}
    unconditional = all(value == "none" for value in fusion.values())
    if init_from := full.train.get("init_from"):
        full = _inheriting(init_from, request, full)
        unconditional = full.model["early_fusion"] == full.model["film"] == "none"
    stand_in = {} if unconditional else {"classes": ("?",)}  # replaced by `complete` once the images are known
    model = ModelConfig(**{**stand_in, **full.model})
    config = RunConfig(model, DataConfig(**full.data), TrainConfig(**full.train))
    dataset_info(config.data.dataset)
    return Plan(config, out or _new_run_directory(f"{config.data.dataset}-{name}"))


def _inheriting(init_from: str, request: Request, full: Request) -> Request:
    """The request with the architecture of the model that it starts from, in place of the default preset's."""
    source = read_source(init_from)[0].model
    architecture = inherited_architecture(init_from, source, request.model)
    square = source.image_height == source.image_width
    size = {"image_size": source.image_height} if square else {}
    model = {"dropout": source.dropout, **architecture, **request.model}
    return dataclasses.replace(full, model=model, data={**size, **full.data})


def _new_run_directory(stem: str) -> Path:
    number = 1
    while (RUNS / f"{stem}-{number}").exists():
        number += 1
    return RUNS / f"{stem}-{number}"


def _merge(stored: RunConfig, request: Request) -> RunConfig:
    """The checkpoint's configuration with the request's changes, where those are allowed."""
    _refuse_contradictions(stored.model, request.model, set(request.model))
    _refuse_contradictions(stored.data, request.data, set(request.data) - _MAY_CHANGE_IN_DATA)
    _refuse_contradictions(stored.train, request.train, set(request.train) & _MUST_STAY_IN_TRAINING)
    return RunConfig(
        stored.model,
        dataclasses.replace(stored.data, **request.data),
        dataclasses.replace(stored.train, **{"max_minutes": 0.0, **request.train}),  # a limit on one call only
    )


def _refuse_contradictions(stored: object, asked: Mapping[str, Any], names: set[str]) -> None:
    for name in sorted(names):
        if asked[name] != getattr(stored, name):
            flag = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{flag} {asked[name]} contradicts the checkpoint, which has {getattr(stored, name)}; "
                "leave it out, or start a new run with another --out"
            )
