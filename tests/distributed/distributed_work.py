"""What the processes of these tests do: a module of its own, which new processes can import."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.datasets import registry
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.distributed import joined_processes
from cpixelcnn.errors import DataError, Interrupted, OtherProcessError
from cpixelcnn.evaluation import unfamiliar
from cpixelcnn.evaluation.evaluate import Evaluation, evaluate
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.plots import figures
from cpixelcnn.runs.metrics_log import EpochRecord
from cpixelcnn.sampling.sample import Samples
from cpixelcnn.training import loop, objective, run_writer, validation
from cpixelcnn.training.callbacks import Callback, StepRecord
from cpixelcnn.training.stopping import StopRequest
from cpixelcnn.training.train import train

torch.set_num_threads(1)

CLASSES = ("ant", "bee", "cat")
MODEL = ModelConfig(
    nr_filters=4, nr_logistic_mix=2, class_embedding_dim=4, image_height=8, image_width=8, classes=CLASSES, dropout=0.0
)
OPTIONS = TrainConfig(
    epochs=2, batch_size=8, lr=3e-3, lr_decay=0.9, ema_decay=0.9, horizontal_flip=True, precision="float32"
)


def run(work: Callable[..., Any], rank: int, count: int, port: int, folder: Path, arguments: Mapping[str, Any]) -> None:
    """Do this work as process `rank` of `count` and leave what it says and returns in the folder."""
    warnings.simplefilter("error")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which what runs in the background ignores
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "COLUMNS": "200"}
    os.chdir(folder)
    with Path(f"out.{rank}").open("w") as out, Path(f"err.{rank}").open("w") as err:
        sys.stdout, sys.stderr = out, err
        try:
            torch.save(work(**arguments), f"result.{rank}")
        except Exception:
            traceback.print_exc()
            raise
        finally:
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


@contextmanager
def no_pictures() -> Iterator[None]:
    """No samples and no curves, which take longer than all the rest of a training of this size."""

    def blank(model: PixelCNN, labels: list[int], *, seed: int, progress: Callable[[int, int], None]) -> Samples:
        progress(1, 1)
        images = torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8)
        return Samples(images, torch.tensor(labels), (seed,) * len(labels), 0.0)

    with patch.object(validation, "sample", blank), patch.object(run_writer, "save_curves"):
        yield


def toys(count: int, split: str = "train", seed: int = 0) -> ImageSet:
    """Images of three classes that differ in their brightness."""
    labels = torch.arange(count) % 3
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return ImageSet((90 * noise + 80 * labels[:, None, None, None]).byte(), labels, CLASSES, "toys", split)


class Recorder(Callback):
    """Remembers what it hears, and has this process receive a signal after a step."""

    def __init__(self, signal_after_step: int | None = None) -> None:
        self.stop, self.signal_after_step = StopRequest(), signal_after_step
        self.steps: list[StepRecord] = []
        self.epochs: list[EpochRecord] = []
        self.warnings: list[str] = []

    def on_step(self, step: StepRecord) -> None:
        self.steps.append(step)
        if step.step == self.signal_after_step:
            self.stop.signal_number = signal.SIGTERM

    def on_epoch(self, record: EpochRecord, is_best: bool) -> None:
        self.epochs.append(record)

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)


def training(
    run: Path,
    *,
    images: int = 20,
    resume: bool = False,
    signals: Mapping[int, int] | None = None,
    nan: tuple[int, range] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Train on toys, alone or with others.

    Args:
        run: the run directory.
        images: how many to train on.
        resume: go on in the run directory.
        signals: at which process, and after which step, a SIGTERM arrives.
        nan: the process and the steps in which its loss is not a number.
        changes: of the fields of MODEL and OPTIONS.
    """
    model = {key: value for key, value in changes.items() if key in ModelConfig.__dataclass_fields__}
    options = {key: value for key, value in changes.items() if key not in model}
    config = RunConfig(dataclasses.replace(MODEL, **model), DataConfig(), dataclasses.replace(OPTIONS, **options))
    with joined_processes() as processes, no_pictures():
        recorder = Recorder((signals or {}).get(processes.rank))
        log_probs = objective.Objective._log_probs

        def log_probs_or_nan(*arguments: Any) -> Tensor:
            bad = nan is not None and nan[0] == processes.rank and len(recorder.steps) + 1 in nan[1]
            return log_probs(*arguments) * (float("nan") if bad else 1.0)

        outcome = "finished"
        with patch.object(objective.Objective, "_log_probs", log_probs_or_nan):
            try:
                train(
                    config,
                    toys(images),
                    toys(11, "validation", seed=1),
                    run,
                    device=torch.device("cpu"),
                    resume=run if resume else None,
                    callbacks=[recorder],
                    stop=recorder.stop,
                    processes=processes,
                )
            except Interrupted as interruption:
                outcome = f"signal {interruption.signal_number}"
    return {
        "outcome": outcome,
        "steps": [dataclasses.asdict(step) for step in recorder.steps],
        "epochs": [dataclasses.asdict(epoch) for epoch in recorder.epochs],
        "warnings": recorder.warnings,
    }


def exchanges() -> dict[str, Any]:
    """What becomes of every kind of exchange between three processes."""

    def outcome(trouble: Mapping[int, Exception]) -> str:
        try:
            with processes.together():
                if processes.rank in trouble:
                    raise trouble[processes.rank]
        except Exception as error:
            return describe(error)
        return ""

    def describe(error: Exception) -> str:
        if isinstance(error, Interrupted | OtherProcessError):
            return f"{type(error).__name__} {error.exit_code % 128}"
        return f"DataError: {error}" if isinstance(error, DataError) else type(error).__name__

    def fail() -> None:
        raise DataError("mine")

    with joined_processes() as processes:
        rank = processes.rank
        copied = torch.full((2, 2), float(rank)).t()
        processes.broadcast_tensors([copied])
        found: dict[str, Any] = {
            "from leader": processes.broadcast(lambda: f"made by {rank}"),
            "all_gather": processes.all_gather(f"process {rank}"),
            "gathered": processes.gather(torch.full((rank, 2), rank)),
            "copied": copied,
            "nobody fails": outcome({}),
            "one fails": outcome({1: DataError("mine")}),
            "two fail": outcome({1: ZeroDivisionError(), 2: DataError("mine")}),
            "one is stopped": outcome({2: Interrupted("stop", 15)}),
            "a failure comes before a stop": outcome({0: Interrupted("stop", 15), 2: DataError("mine")}),
        }
        try:
            processes.broadcast(fail)
        except Exception as error:
            found["the leader fails"] = describe(error)
    return found


def evaluation(model: PixelCNN, images: ImageSet, batch_size: int) -> list[float | None]:
    """The figures of a model on images, scored by all processes."""
    with joined_processes() as processes:
        result = evaluate(model, images, batch_size=batch_size, processes=processes)
    density, scores = result.density, result.scores
    digest = ""
    if result.classification is not None:
        digest = hashlib.sha256(result.classification.log_likelihoods.numpy().tobytes()).hexdigest()
    figures = [density.n_images, density.bpd, density.bpd_marginal, density.stderr, digest]
    return figures if scores is None else [*figures, scores.accuracy, scores.nll_posterior, scores.ece]


def command(argv: list[str], trouble: Callable[[], Any] | None = None) -> None:
    """`cpixelcnn ...` in this process, which it ends; `trouble` is made first."""
    from cpixelcnn.cli import app

    if trouble is not None:
        trouble()
    sys.argv = ["cpixelcnn", *argv]
    with no_pictures():
        app.main()


def few_resamples() -> None:
    """Intervals of 20 resamples instead of 200, which take most of the time."""
    unfamiliar.detection = partial(unfamiliar.detection, n_bootstrap=20)


def bad_images() -> None:
    """Reading the images fails in this process."""

    def load_split(*arguments: Any, **options: Any) -> ImageSet:
        raise DataError("the disk of this machine is empty")

    registry.load_split = load_split


def not_finite() -> None:
    """The loss of this process is never a number."""
    log_probs = objective.Objective._log_probs
    objective.Objective._log_probs = lambda *arguments: log_probs(*arguments) * float("nan")  # type: ignore[method-assign]


def no_room_for_pictures() -> None:
    """No figure can be written."""

    def save_figure(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    figures.save_figure = save_figure


def no_room() -> None:
    """No checkpoint can be written."""

    def save_checkpoint(*arguments: Any, **options: Any) -> Path:
        raise OSError(28, "No space left on device")

    run_writer.save_checkpoint = save_checkpoint


def killed() -> None:
    """This process vanishes in the fourth step."""
    _in_the_fourth_step(lambda: os.kill(os.getpid(), signal.SIGKILL))


def out_of_memory() -> None:
    """This process finds no memory for the fourth step."""

    def fail() -> None:
        raise RuntimeError("not enough memory: you tried to allocate 9 bytes")

    _in_the_fourth_step(fail)


def _in_the_fourth_step(act: Callable[[], None]) -> None:
    original = loop.learning_rate

    def learning_rate(config: TrainConfig, step: int, *arguments: Any) -> float:
        if step == 3:
            act()
        return original(config, step, *arguments)

    loop.learning_rate = learning_rate


def signal_while_validating(number: int) -> None:
    """This process receives a signal in the second validation."""
    original, calls = validation.evaluate, iter(range(100))

    def evaluate(*arguments: Any, **options: Any) -> Evaluation:
        if next(calls) == 1:
            os.kill(os.getpid(), number)
        return original(*arguments, **options)

    validation.evaluate = evaluate
