"""Commands in an empty directory, without a network, and a run that one of them has made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch

from cpixelcnn.datasets import embedded


def small_splits(patch: pytest.MonkeyPatch) -> None:
    """Fewer embedded images than the data set has, in every command, `home`'s included."""
    patch.setattr(embedded, "VALIDATION_SIZE", 60)
    patch.setattr(embedded, "TEST_SIZE", 60)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> None:
    """An empty directory and caches, a wide terminal, no network, small splits, and no pictures of trainings."""

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network in tests")

    small_splits(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)


@pytest.fixture(scope="session")
def home(cli: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which somebody has trained a model, of 8x8 pixels."""
    directory = tmp_path_factory.mktemp("home")
    sizes = ["--nr-filters", 4, "--nr-logistic-mix", 2, "--image-size", 8, "--train-size", 16]
    schedule = ["--epochs", 1, "--batch-size", 16, "--eval-interval", 1, "--eval-images", 20]
    with contextlib.chdir(directory), pytest.MonkeyPatch.context() as patch:
        small_splits(patch)
        outcome = cli("train", *sizes, *schedule, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    (directory / "stdout.txt").write_text(outcome.out)
    (directory / "stderr.txt").write_text(outcome.err)
    return directory


@pytest.fixture
def run(home: Path) -> Path:
    """The trained run; not to be changed."""
    return home / "runs" / "embedded-tiny-1"


@pytest.fixture
def photographs(own_photographs: Path) -> Path:
    """A folder data set of the model's classes with splits, in the working directory."""
    return own_photographs


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """The content of every file below a directory."""

    def read(directory: Path) -> dict[str, bytes]:
        files = (path for path in directory.rglob("*") if path.is_file())
        return {os.path.relpath(path, directory): path.read_bytes() for path in files}

    return read
