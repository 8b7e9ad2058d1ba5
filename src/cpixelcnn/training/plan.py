"""From what was asked for to what will be done: a new run, or one that is resumed from a checkpoint."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpixelcnn import presets
from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.registry import dataset_info, expanded
from cpixelcnn.errors import CheckpointError, ConfigError, DataError, did_you_mean, first_line, plural
from cpixelcnn.foreign_files import UnreadableFileError, read_json, read_text
from cpixelcnn.runs.layout import CHECKPOINTS, MANIFEST, RUNS, checkpoint_paths
from cpixelcnn.runs.models import newest_run
from cpixelcnn.runs.pointers import BEST, LAST, followed
from cpixelcnn.training.checkpoint import FoundCheckpoint, find_checkpoint
from cpixelcnn.training.warm_start import inherited_architecture, read_source

_DECIDED_BY_IMAGES = {"image_channels", "image_height", "image_width", "classes", "class_counts"}
_MAY_CHANGE_IN_DATA = {"data_dir", "skip_bad"}  # where the same images are, and whether to be strict about them
# One of these at least is in the directory of a run, however soon that was killed.
_OF_A_RUN = {"config.json", "train.log", "environment.json", "metrics.jsonl", CHECKPOINTS, BEST, LAST}
_MUST_STAY_IN_TRAINING = {"seed", "ema_decay", "init_from"}


@dataclass(frozen=True)
class Request:
    """The fields that the user set, by a preset or one by one; all others take their defaults."""

    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None

    def on_top_of(self, base: Request) -> Request:
        """This request, with the fields that it does not set from another one."""
        return Request(
            {**base.model, **self.model}, {**base.data, **self.data}, {**base.train, **self.train}, self.preset
        )

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
        checkpoint: what to resume from, or None.
        images_seen: how far that checkpoint is.
        finish: for a finished checkpoint: that it is finished, why, and what to pass to go on all the same.
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
        resume: None for a new run; "auto" to resume `out` (or the newest run) if it holds a checkpoint, and otherwise
            to start; or a run or checkpoint directory.

    Raises:
        ConfigError: the directory holds a run already, or a field contradicts the checkpoint's.
        CheckpointError: there is nothing to resume at that path, or nothing undamaged.
        DataError: the images of the run that is resumed are not where they were.
    """
    resumed = _resumed(out, resume)
    if resumed is None:
        return _new_run(request, out)
    run, found = resumed
    config = _merge(found.config, request)
    directory = config.data.data_dir
    if directory and "data_dir" not in request.data and not os.path.exists(directory):
        raise DataError(
            f"the images that {run} was trained on are not in {directory} any more; pass their place with `data_dir`"
        )
    finish = _finish(config.train, found.manifest) if found.manifest["finished"] else ""
    return Plan(config, run, found.path, int(found.manifest["images_seen"]), finish, found.warnings)


def read_request(path: Path) -> Request:
    """The fields that a file sets: JSON or TOML with objects `model`, `data` and `train`, each of which may be missing.

    A run's `config.json` is such a file; what the images decide (sizes and classes) is left to the images.

    Raises:
        ConfigError: the file cannot be read, or a field is unknown or cannot have its value.
    """
    try:
        document = tomllib.loads(read_text(path)) if path.suffix == ".toml" else read_json(path)
    except (UnreadableFileError, ValueError, RecursionError) as error:
        reason = error.reason if isinstance(error, UnreadableFileError) else first_line(error)
        raise ConfigError(f"{path} cannot be read as settings ({reason}); pass a JSON or TOML file") from None
    parts = {}
    for name, kind in (("model", ModelConfig), ("data", DataConfig), ("train", TrainConfig)):
        part = document.get(name, {}) if isinstance(document, dict) else None
        if not isinstance(part, dict):
            raise ConfigError(f"{path} holds no settings of {name}, but {part!r}; it needs fields with values")
        part = {key: value for key, value in part.items() if key not in _DECIDED_BY_IMAGES}
        checked = kind.from_json(part)
        parts[name] = {key: getattr(checked, key) for key in part}
    if not any(parts.values()):
        raise ConfigError(f"{path} sets nothing; it needs model, data or train")
    return Request(parts["model"], parts["data"], parts["train"])


def plan_call(
    config: RunConfig | ModelConfig | str | None,
    train_set: ImageSet,
    *,
    run: Path | str | None = None,
    resume: Path | str | None = None,
) -> Plan:
    """Decide the same for a call of `train`; see there for arguments and errors. The configuration is complete."""
    directory = None if run is None else Path(run)
    resumed = _resumed(directory, None if resume is None else str(resume))
    if isinstance(config, str):
        config = presets.preset_config(config)
    elif isinstance(config, ModelConfig):
        config = RunConfig(config)
    if resumed is not None:
        where, found = resumed
        if config is not None:
            asked = config_for_images(config, train_set).model
            _refuse_contradictions(found.config.model, vars(asked), set(vars(asked)) - {"classes", "class_counts"})
            _refuse_contradictions(found.config.train, vars(config.train), _MUST_STAY_IN_TRAINING - {"init_from"})
            config = dataclasses.replace(config, model=found.config.model)
        return Plan(config or found.config, where, found.path, int(found.manifest["images_seen"]))
    if config is None:
        raise ConfigError("`config` is None, but there is no run to resume; pass a configuration or a preset's name")
    if directory is not None:
        _refuse_foreign(directory)
    return Plan(
        config_for_images(config, train_set), directory or claim_directory(new_run_directory(config.data.dataset))
    )


def config_for_images(config: RunConfig, train_set: ImageSet) -> RunConfig:
    """The configuration with what the images decide: channels, height, width, classes and their frequencies."""
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


def new_run_directory(stem: str) -> Path:
    """The first of runs/STEM-1, runs/STEM-2, ... that does not exist; not created."""
    number = 1
    while (RUNS / f"{stem}-{number}").exists():
        number += 1
    return RUNS / f"{stem}-{number}"


def claim_directory(run: Path) -> Path:
    """Create a numbered run directory; where another training was faster, the one with the next free number.

    Raises:
        ConfigError: it cannot be created.
    """
    while True:
        try:
            run.mkdir(parents=True)
            return run
        except FileExistsError:
            run = new_run_directory(run.name.rpartition("-")[0])
        except OSError as error:
            raise ConfigError(f"{run} cannot be created ({error.strerror}); choose another `run`") from None


def _resumed(out: Path | None, resume: str | None) -> tuple[Path, FoundCheckpoint] | None:
    """The run that is resumed, and from which checkpoint; None for a new run."""
    if resume is None:
        if out is not None and checkpoint_paths(out):
            raise ConfigError(f"{out} already holds a run; resume it with `resume`, or choose another `run`")
        return None
    if resume == "auto":
        where = out or newest_run()
        if where is None or not checkpoint_paths(where):
            return None
    else:
        where = _directory(resume)
    if (where / MANIFEST).is_file():
        where = where if where.parent.name == CHECKPOINTS else where.resolve()
        if where.parent.name != CHECKPOINTS:
            raise CheckpointError(
                f"{where} is a checkpoint outside a run; put it into RUN/{CHECKPOINTS}/ and resume RUN"
            )
    found = find_checkpoint(where)
    if found is None:
        raise CheckpointError(f"{where} holds no checkpoint to resume; start a new run there")
    run = where if checkpoint_paths(where) else found.path.parent.parent
    if found.path.resolve() != checkpoint_paths(run)[-1].resolve() and resume != "auto" and where != run:
        raise CheckpointError(
            f"{run} has later checkpoints than {where.name}; resume the run, or copy this one elsewhere"
        )
    if out is not None and out.resolve() != run.resolve():
        raise ConfigError(f"`run` {out} is another directory than {resume}, which is to be resumed; leave it out")
    return run, found


def _directory(reference: str) -> Path:
    """The directory of that path, or of that name under runs/; of `best` and `last`, the checkpoint that they mean."""
    for path in map(followed, (Path(reference), RUNS / reference)):
        if path.is_dir():
            return path
    names = sorted(path.name for path in RUNS.glob("*") if path.is_dir())
    raise CheckpointError(
        f"`resume` {reference}: there is no such run; {did_you_mean(reference, names, f'the runs under {RUNS}/ are')}"
    )


def _finish(options: TrainConfig, manifest: Mapping[str, Any]) -> str:
    """Why a finished checkpoint is finished under these options as well; empty if it is not."""
    epoch = int(manifest["epoch"])
    if epoch >= options.epochs:
        return f"is finished ({plural(epoch, 'epoch')}); pass a larger `epochs` to go on"
    stale = int(manifest.get("stale_validations", 0))
    if 0 < options.patience <= stale:
        validations = plural(stale, "validation")
        return f"has stopped early ({validations} without a new best); pass a larger `patience`, or 0, to go on"
    return ""


def _refuse_foreign(directory: Path) -> None:
    """Refuse a directory with other things than a run: among them, the run's files would be taken for the user's."""
    try:
        names = set(os.listdir(directory))
    except OSError:  # there is none, which is as it should be, or it cannot be used, which is told when it is
        return
    shown = sorted(name for name in names if not name.startswith("."))
    if shown and not names & _OF_A_RUN:
        raise ConfigError(f"{directory} holds {shown[0]}, and no run; choose another `run`, or an empty folder")


def _new_run(request: Request, out: Path | None) -> Plan:
    if out is not None:
        _refuse_foreign(out)
    name = request.preset or presets.DEFAULT_PRESET
    full = request if request.preset else request.with_preset(name)
    if init_from := full.train.get("init_from"):
        full = _inheriting(init_from, request, full)
    config = RunConfig(ModelConfig(**full.model), DataConfig(**_absolute(full.data)), TrainConfig(**full.train))
    dataset_info(config.data.dataset)
    # The default is not refused: a file of settings has every field.
    if config.data.train_size != DataConfig.train_size and config.data.dataset != "embedded":
        raise ConfigError(f"`train_size` is for the embedded data set, not for {config.data.dataset}; leave it out")
    if config.train.accumulate > config.train.batch_size:
        raise ConfigError(
            f"`accumulate` {config.train.accumulate} is more than the {config.train.batch_size} images of a batch; "
            "pass at most as many"
        )
    return Plan(config, out or new_run_directory(f"{config.data.dataset}-{name}"))


def _absolute(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data's fields, with a directory that means the same wherever the run is resumed or evaluated."""
    directory = data.get("data_dir")
    return {**data, "data_dir": str(expanded(directory).absolute())} if directory else dict(data)


def _inheriting(init_from: str, request: Request, full: Request) -> Request:
    """The request with the architecture of the model that it starts from, in place of the default preset's."""
    source = read_source(init_from).config
    architecture = inherited_architecture(init_from, source, request.model)
    square = source.image_height == source.image_width
    size = {"image_size": source.image_height if square else None, "channels": source.image_channels}
    model = {"dropout": source.dropout, **architecture, **request.model}
    return dataclasses.replace(full, model=model, data={**size, **full.data})


def _merge(stored: RunConfig, request: Request) -> RunConfig:
    """The checkpoint's configuration with the request's changes, where those are allowed."""
    if request.preset:
        _refuse_preset(stored, request, request.preset)
    data = _absolute(request.data)
    _refuse_contradictions(stored.model, request.model, set(request.model))
    _refuse_contradictions(stored.data, data, set(data) - _MAY_CHANGE_IN_DATA)
    _refuse_contradictions(stored.train, request.train, set(request.train) & _MUST_STAY_IN_TRAINING)
    return RunConfig(
        stored.model,
        dataclasses.replace(stored.data, **data),
        dataclasses.replace(stored.train, **{"max_minutes": 0.0, **request.train}),  # a limit on one call only
    )


def _refuse_preset(stored: RunConfig, request: Request, name: str) -> None:
    """Refuse a preset that would change what must stay; the user need not know its fields, so the message has them."""
    preset = presets.preset(name)
    fixed = {field: value for field, value in preset.train.items() if field in _MUST_STAY_IN_TRAINING}
    changes = [
        f"`{field}` from {getattr(of, field)} to {value}"
        for of, asked, fields in ((stored.model, request.model, preset.model), (stored.train, request.train, fixed))
        for field, value in fields.items()
        if asked[field] == value != getattr(of, field)  # an option of the user's own wins over the preset
    ]
    if changes:
        raise ConfigError(
            f"`preset` {name} would change {', '.join(changes)}, which a resumed run keeps; leave the preset out, or "
            "start a new run in another directory"
        )


def _refuse_contradictions(stored: object, asked: Mapping[str, Any], names: set[str]) -> None:
    for name in sorted(names):
        if asked[name] != getattr(stored, name):
            raise ConfigError(
                f"`{name}` {asked[name]} contradicts the checkpoint, which has {getattr(stored, name)}; leave it out, "
                "or start a new run in another directory"
            )
