"""The command line in this process: importing torch once is enough."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from cpixelcnn.cli import app, console
from cpixelcnn.datasets.drawings import CLASSES, generate

Cli = Callable[..., "Outcome"]


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


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory and caches, a wide terminal, and no network."""

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network in tests")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)


@pytest.fixture
def cli() -> Cli:
    """Call `cpixelcnn` with these arguments."""
    return run_command


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which somebody has trained a model, of 8x8 pixels."""
    directory = tmp_path_factory.mktemp("home")
    sizes = ["--nr-filters", 4, "--nr-logistic-mix", 2, "--image-size", 8, "--train-size", 16]
    schedule = ["--epochs", 1, "--batch-size", 16, "--eval-interval", 1, "--eval-images", 20]
    with contextlib.chdir(directory):
        outcome = run_command("train", *sizes, *schedule, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    (directory / "stdout.txt").write_text(outcome.out)
    (directory / "stderr.txt").write_text(outcome.err)
    return directory


@pytest.fixture
def run(home: Path) -> Path:
    """The trained run; not to be changed."""
    return home / "runs" / "embedded-tiny-1"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eight images of the model's classes, in folders with their names."""
    images, labels = generate("test", 8, height=8, width=8)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "pictures" / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.moveaxis(image, 0, 2)).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder data set of the model's classes with splits: 3 images of each class for training, 2 each else."""
    for split, count in (("train", 12), ("validation", 8), ("test", 8)):
        images, labels = generate(split, count, height=8, width=8)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = tmp_path / "photographs" / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.moveaxis(image, 0, 2)).save(folder / f"{number}.png")
    return tmp_path / "photographs"


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """The content of every file below a directory."""

    def read(directory: Path) -> dict[str, bytes]:
        files = (path for path in directory.rglob("*") if path.is_file())
        return {os.path.relpath(path, directory): path.read_bytes() for path in files}

    return read
