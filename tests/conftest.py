"""What the tests of several rooms share: small networks with arbitrary weights, images, and the command line."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from unittest.mock import patch

import numpy as np
import pytest
import torch
import typer.main
from PIL import Image
from torch import Tensor, nn

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.drawings import CLASSES, generate
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.sampling.sample import Samples
from cpixelcnn.training import run_writer, validation

# The tensors are so small that a second thread costs more than it saves; and in the processes that tests start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

sys.path.insert(0, str(Path(__file__).parent))  # also for new processes, which import what they do by name
import forked  # noqa: E402

# Few tests leave reference cycles, and each search for them goes through the million objects of what is imported.
gc.set_threshold(20_000, 10, 10)

# Waiting for the disk matters when a machine loses its power, which happens in no test, and takes longer than most.
os.fsync = lambda descriptor: None


@dataclass(frozen=True)
class Outcome:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout; anything else there, or a NaN, is an error."""
        document = json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert isinstance(document, dict)
        return document


@pytest.fixture(scope="session")
def cli() -> Iterator[Callable[..., Outcome]]:
    """Call `cpixelcnn` with these arguments, in this process: importing torch once is enough.

    So is reading the options of all commands once, which takes as long as some of them.
    """
    from cpixelcnn.cli import app, console

    def run_command(*arguments: object) -> Outcome:
        console.json_written, app._last_error = False, ""
        out, err = io.StringIO(), io.StringIO()
        argv = ["cpixelcnn", *map(str, arguments)]
        with patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                app.main()
            except SystemExit as stop:
                code = stop.code
        assert isinstance(code, int)
        assert "Traceback" not in err.getvalue()
        return Outcome(code, out.getvalue(), err.getvalue())

    with patch.object(typer.main, "get_command", functools.cache(typer.main.get_command)):
        yield run_command


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings draw neither curves nor samples, which take longer than all the rest of one of this size.

    A grid of blank samples is written all the same.
    """

    def blank(model: PixelCNN, labels: list[int], *, seed: int, progress: Callable[[int, int], None]) -> Samples:
        progress(1, 1)
        size = (len(labels), model.config.image_channels, model.config.image_height, model.config.image_width)
        return Samples(torch.zeros(size, dtype=torch.uint8), torch.tensor(labels), (seed,) * len(labels), 0.0)

    monkeypatch.setattr(validation, "sample", blank)
    monkeypatch.setattr(run_writer, "save_curves", lambda *_, **__: None)


@pytest.fixture(scope="session")
def lacking() -> Callable[[str], NoReturn]:
    """`lacking(what)`: skip a test for want of something that CI has, so that there it fails."""

    def lacking(what: str) -> NoReturn:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs {what}")
        pytest.skip(f"needs {what}")

    return lacking


@pytest.fixture(scope="session")
def optional_module(lacking: Callable[[str], NoReturn]) -> Callable[[str], ModuleType]:
    """`optional_module(name)`: a module of a package that not everybody has, but CI."""

    def import_or_skip(name: str) -> ModuleType:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            lacking(f"{name} ({error})")

    return import_or_skip


@pytest.fixture(scope="session")
def nursery() -> ForkServerContext:
    """Where processes come from that have imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(forked.PRELOADED))
    return context


@pytest.fixture
def fork(nursery: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """`fork(*arguments, stdin=...)`: start `cpixelcnn` in a forked process; what is left at the end is killed."""
    started: list[forked.ForkedCommand] = []

    def fork(*arguments: object, **options: Any) -> forked.ForkedCommand:
        started.append(forked.ForkedCommand(nursery, tmp_path_factory.mktemp("forked"), arguments, **options))
        return started[-1]

    yield fork
    for command in started:
        command.kill()


def _perturb(network: nn.Module, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


@pytest.fixture(scope="session")
def make_model() -> Callable[..., PixelCNN]:
    """`make_model(seed=0, perturb=0.3, **overrides)`: a tiny network in evaluation mode, of three classes unless told.

    Every parameter is perturbed by noise of deviation `perturb`, so that neither fusion is the identity; 0 leaves the
    network as it is created. What upright images add to the class stays zero.
    """

    def make(seed: int = 0, perturb: float = 0.3, **overrides: Any) -> PixelCNN:
        tiny: dict[str, Any] = {
            "nr_filters": 4,
            "nr_logistic_mix": 2,
            "class_embedding_dim": 4,
            "image_channels": 3,
            "image_height": 4,
            "image_width": 4,
            "classes": ("ant", "bee", "cat"),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = PixelCNN(ModelConfig(**(tiny | overrides)))
        if perturb:
            _perturb(model, seed, perturb)
        if model.orientation_embedding is not None:
            model.orientation_embedding.weight.data[0] = 0.0  # as in every training
        return model.eval()

    return make


@pytest.fixture(scope="session")
def make_images() -> Callable[..., Tensor]:
    """`make_images(model, n, seed=0)`: n images of uniform noise that suit the model, uint8 (n, C, H, W)."""

    def make(model: PixelCNN, n: int, seed: int = 0) -> Tensor:
        config = model.config
        size = (n, config.image_channels, config.image_height, config.image_width)
        return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of pytorch-fid's file."""
    import pytorch_fid.inception  # heavy, and needed by few tests

    path = tmp_path_factory.mktemp("inception") / "random.pth"
    with (
        torch.random.fork_rng(devices=[]),
        patch.object(nn.Module, "load_state_dict"),
        patch.object(pytorch_fid.inception, "load_state_dict_from_url"),
    ):
        torch.manual_seed(0)
        torch.save(pytorch_fid.inception.fid_inception_v3().state_dict(), path)
    return path


def write_embedded(folder: Path, split: str, count: int) -> None:
    """Write embedded images of 8x8 pixels into folders with the names of their classes."""
    images, labels = generate(split, count, height=8, width=8)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / CLASSES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.moveaxis(image, 0, 2)).save(path)


def write_photographs(root: Path) -> Path:
    for split, count in (("train", 12), ("validation", 8), ("test", 8)):
        write_embedded(root / split, split, count)
    return root


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder data set with splits: 3 images of each class for training, 2 each for validation and test.

    Not to be changed; see `own_photographs`.
    """
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture
def own_photographs(tmp_path: Path) -> Path:
    """The same for one test, which may change it."""
    return write_photographs(tmp_path / "photographs")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eight embedded images of 8x8 pixels, in folders with the names of their classes."""
    write_embedded(tmp_path / "pictures", "test", 8)
    return tmp_path / "pictures"
