"""The examples run, in small, and say what they promise."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.datasets import embedded
from cpixelcnn.datasets.drawings import CLASSES, draw
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import save_weights

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIZE = 8


def main_of(name: str) -> Callable[[list[str]], None]:
    """The function `main` of an example."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[list[str]], None] = module.main
    return main


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A weight file of a small, untrained model of the embedded classes."""
    config = ModelConfig(
        nr_filters=4,
        nr_logistic_mix=2,
        class_embedding_dim=4,
        image_height=SIZE,
        image_width=SIZE,
        classes=CLASSES,
        class_counts=(1, 1, 1, 1),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PixelCNN(config)
    path = tmp_path / "model.safetensors"
    save_weights(path, model.state_dict(), RunConfig(config, DataConfig(image_size=SIZE), TrainConfig()))
    return str(path)


def test_every_example_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f"({path.name})" in listed


@pytest.mark.usefixtures("no_pictures")
def test_train_and_classify(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "VALIDATION_SIZE", 20)
    monkeypatch.setattr(embedded, "TEST_SIZE", 20)
    small = ["--epochs", "1", "--train-size", "16", "--test-images", "8", "--image-size", "8", "--nr-filters", "4"]
    main_of("train_and_classify")([*small, "--out", "run"])
    shown = capsys.readouterr().out
    assert shown.startswith("epoch 1: train ")
    assert "parameters on 8 test images" in shown
    assert Path("run/best/ema.safetensors").is_file()


def test_sample_grid(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("sample_grid")(["--model", weights, "--class", "pizza", "--class", "panda", "--per-class", "3"])
    assert "a row for each of: pizza, panda" in capsys.readouterr().out
    with Image.open("grid.png") as grid:
        assert grid.width > grid.height > 2 * 4 * SIZE  # captions and three columns, two rows, enlarged


def test_score_images_of_the_embedded_set(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("score_images")(["--model", weights])
    shown = capsys.readouterr().out
    assert shown.count("embedded test picture") == 8
    assert "given the true class" in shown
    assert "of 8 are taken for what they are" in shown


def test_score_images_of_a_folder(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("some").mkdir()
    for index in range(2):
        picture = draw(index, split="test", index=index, height=16, width=20)
        Image.fromarray(picture.transpose(1, 2, 0)).save(f"some/{index}.png")
    Path("some/broken.png").touch()
    main_of("score_images")(["--model", weights, "some"])
    shown = capsys.readouterr().out
    assert "left out: some/broken.png: the file is empty" in shown
    assert "mean bits/dim of the 2 images" in shown
    assert "taken for" not in shown


def test_conditional_density(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("conditional_density")(["--model", weights, "--row", "0", "--column", "7"])
    lines = capsys.readouterr().out.splitlines()
    posteriors = [float(line.split()[2]) for line in lines[1:5]]
    assert sum(posteriors) == pytest.approx(1, abs=1e-3)
    sums = [line for line in lines if "sum" in line]
    assert len(sums) == 3 * len(CLASSES)
    assert all("sum 1.0000" in line or "sum 0.9999" in line for line in sums)
