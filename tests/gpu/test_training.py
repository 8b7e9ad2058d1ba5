"""Training on a GPU: the CPU's losses, in any precision, without waiting, compiled.

Each test runs on the CPU, too, but for what only a GPU has: there it checks itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.datasets.drawings import CLASSES, generate
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.device import exact_float32
from cpixelcnn.training.callbacks import Callback, StepRecord
from cpixelcnn.training.step import TrainingStep
from cpixelcnn.training.train import train

CPU = torch.device("cpu")
no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

EVERYTHING: dict[str, Any] = {
    "accumulate": 2,
    "weight_decay": 0.1,
    "shift": 1,
    "horizontal_flip": True,
    "discriminative_weight": 0.001,
    "dropout": 0.5,
}


@pytest.fixture(
    params=[
        pytest.param("cpu", marks=pytest.mark.slow),  # of which tests/training has proofs of its own
        pytest.param("cuda:0", marks=[pytest.mark.gpu, no_gpu]),
    ]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


class Recorder(Callback):
    def __init__(self) -> None:
        self.steps: list[StepRecord] = []
        self.warnings: list[str] = []

    def on_step(self, step: StepRecord) -> None:
        self.steps.append(step)

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Recorder]:
    """Two epochs of three steps (of 8, 8 and 4 images)."""

    def images(split: str, count: int) -> ImageSet:
        pixels, labels = generate(split, count, height=8, width=8)
        return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels), CLASSES, "embedded", split)

    def fit(device: torch.device, **changes: Any) -> Recorder:
        model = ModelConfig(nr_filters=12, image_height=8, image_width=8, classes=CLASSES, dropout=0.0)
        model = dataclasses.replace(model, dropout=changes.pop("dropout", 0.0))
        options = TrainConfig(epochs=2, batch_size=8, **{"precision": "float32", "compile": "off"} | changes)
        recorder = Recorder()
        run = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        sets = images("train", 20), images("validation", 8)
        train(RunConfig(model, DataConfig(), options), *sets, run, device=device, callbacks=[recorder])
        return recorder

    return fit


def bits(recorder: Recorder) -> list[float]:
    return [step.bits_per_dim for step in recorder.steps]


def test_the_losses_are_the_cpus(fit: Callable[..., Recorder], device: torch.device) -> None:
    options = EVERYTHING | {"dropout": 0.0}
    with exact_float32():
        one, other = fit(device, **options), fit(CPU, **options)
    assert bits(one) == pytest.approx(bits(other), rel=1e-3)
    assert [step.grad_norm for step in one.steps] == pytest.approx([step.grad_norm for step in other.steps], rel=2e-2)
    assert [step.step for step in one.steps] == [1, 2, 3, 4, 5, 6]


def test_bfloat16_is_close(fit: Callable[..., Recorder], device: torch.device) -> None:
    assert bits(fit(device, precision="bfloat16")) == pytest.approx(bits(fit(device)), rel=0.02)


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """While open, what waits for the GPU is an error."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
def test_steps_do_not_wait(
    fit: Callable[..., Recorder], device: torch.device, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, steps = TrainingStep.__call__, []

    def call(self: TrainingStep, indices: torch.Tensor, first: int, step: int, lr: float) -> torch.Tensor:
        steps.append(step)
        if step < 2:  # the first ones set things up
            return original(self, indices, first, step, lr)
        with no_waiting(device):
            return original(self, indices, first, step, lr)

    monkeypatch.setattr(TrainingStep, "__call__", call)
    recorder = fit(device, **options)
    assert steps == [0, 1, 2, 3, 4, 5]
    assert len(recorder.steps) == 6


@pytest.mark.gpu
@no_gpu
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_it_is_the_same_up_to_rounding(fit: Callable[..., Recorder], precision: str) -> None:
    device = torch.device("cuda:0")
    with exact_float32():
        plain, compiled = (fit(device, precision=precision, compile=choice) for choice in ("off", "on"))
    assert compiled.warnings == []
    assert bits(compiled) == pytest.approx(bits(plain), rel=0.02 if precision == "bfloat16" else 1e-3)
