"""Trainings that take a fraction of a second: two classes of 8x8 images, told apart by their brightness."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.errors import Interrupted
from cpixelcnn.model.weights import load_weights
from cpixelcnn.runs.metrics_log import EpochRecord
from cpixelcnn.sampling.sample import sample
from cpixelcnn.training import train as train_module
from cpixelcnn.training import validation as validation_module
from cpixelcnn.training.callbacks import Callback, StepRecord
from cpixelcnn.training.stopping import StopRequest

CLASSES = ("cat", "dog")
CPU = torch.device("cpu")
TIMES = ("seconds", "images_per_second")  # what may differ between two trainings that are otherwise the same


class Recorder(Callback):
    """Remembers all it hears, and stops the training after a step if asked to, as a signal would."""

    def __init__(self, stop_after_step: int | None = None) -> None:
        self.stop, self.stop_after_step = StopRequest(), stop_after_step
        self.steps: list[StepRecord] = []
        self.epochs: list[tuple[EpochRecord, bool]] = []
        self.warnings: list[str] = []

    def on_step(self, step: StepRecord) -> None:
        self.steps.append(step)
        if step.step == self.stop_after_step:
            self.stop.signal_number = 2

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        self.epochs.append((record, is_best))

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(autouse=True)
def alone(no_pictures: None) -> None:
    """Trainings draw no pictures; see `fit`."""


@pytest.fixture
def make_images() -> Callable[..., ImageSet]:
    def make(count: int, seed: int = 0, split: str = "train", *, labelled: bool = True) -> ImageSet:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 2
        noise = torch.rand(count, 3, 8, 8, generator=generator)
        images = (100 * noise + 120 * labels[:, None, None, None]).byte()
        if not labelled:
            labels = torch.full((count,), UNLABELLED)
        return ImageSet(images, labels, CLASSES if labelled else (), "toys", split)

    return make


@pytest.fixture
def train_set(make_images: Callable[..., ImageSet]) -> ImageSet:
    """Twenty images: two batches of eight and one of four."""
    return make_images(20)


@pytest.fixture
def validation_set(make_images: Callable[..., ImageSet]) -> ImageSet:
    return make_images(8, seed=1, split="validation")


@pytest.fixture
def config() -> Callable[..., RunConfig]:
    """A complete configuration; changes are named by their field, whichever part of it they belong to."""

    def make(**changes: Any) -> RunConfig:
        base = RunConfig(
            ModelConfig(
                nr_filters=4,
                nr_logistic_mix=2,
                class_embedding_dim=4,
                image_height=8,
                image_width=8,
                classes=CLASSES,
                class_counts=(10, 10),
            ),
            DataConfig(),
            TrainConfig(
                epochs=3, batch_size=8, lr=3e-3, lr_decay=0.9, ema_decay=0.9, horizontal_flip=True, precision="float32"
            ),
        )
        parts = {}
        for name in ("model", "data", "train"):
            part = getattr(base, name)
            mine = {key: changes.pop(key) for key in list(changes) if key in type(part).__dataclass_fields__}
            parts[name] = dataclasses.replace(part, **mine)
        assert not changes, f"no such fields: {changes}"
        return RunConfig(**parts)

    return make


@pytest.fixture
def fit(config: Callable[..., RunConfig], train_set: ImageSet, validation_set: ImageSet) -> Callable[..., Recorder]:
    """Train in `run`, or go on in it; returns what a listener heard. A stop that was asked for is no error."""

    def fit(
        run: Path,
        *,
        resume: bool = False,
        stop_after_step: int | None = None,
        recorder: Recorder | None = None,
        draw: bool = False,
        images: ImageSet = train_set,
        validation: ImageSet = validation_set,
        **changes: Any,
    ) -> Recorder:
        recorder = recorder or Recorder(stop_after_step)
        arguments: dict[str, Any] = {"device": CPU, "resume": run if resume else None}
        arguments |= {"callbacks": [recorder], "stop": recorder.stop}
        with patch.object(validation_module, "sample", sample if draw else validation_module.sample):
            try:
                train_module.train(config(**changes), images, validation, run, **arguments)
            except Interrupted:
                assert recorder.stop.signal_number
        return recorder

    return fit


@pytest.fixture
def recorder_class() -> type[Recorder]:
    return Recorder


@pytest.fixture
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    """The lines of a run's metrics.jsonl without what depends on the clock."""

    def read(run: Path) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]

    return read


@pytest.fixture(scope="module")
def source_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `source` is trained once for the tests of a file."""
    return tmp_path_factory.mktemp("source") / "run"


@pytest.fixture
def source(source_run: Path, fit: Callable[..., Any]) -> Path:
    """A run of one epoch, not to be changed."""
    if not source_run.exists():
        fit(source_run, epochs=1)
    return source_run


@pytest.fixture
def state() -> Callable[[Path], dict[str, Any]]:
    """All tensors and numbers of a run's last checkpoint, by name, without what depends on the clock."""

    def read(run: Path) -> dict[str, Any]:
        last = (run / "last").resolve()
        trainer = torch.load(last / "trainer.pt", weights_only=True)
        found: dict[str, Any] = {}
        for name in ("model", "ema"):
            found |= {f"{name}.{key}": value for key, value in load_weights(last / f"{name}.safetensors")[1].items()}
        for index, moments in trainer["optimiser"]["state"].items():
            found |= {f"optimiser.{index}.{key}": value for key, value in moments.items()}
        for key, value in trainer["optimiser"]["param_groups"][0].items():
            found[f"optimiser.{key}"] = value
        found |= {key: value for key, value in trainer["progression"].items() if key not in TIMES}
        return found

    return read


@pytest.fixture
def differences() -> Callable[[dict[str, Any], dict[str, Any]], list[str]]:
    """Names under which two states are not the same, bit for bit."""

    def compare(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
        def same(a: object, b: object) -> bool:
            return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b

        return sorted(key for key in {*one, *other} if not same(one.get(key), other.get(key)))

    return compare
