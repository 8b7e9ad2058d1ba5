"""`cpixelcnn eval --map --plots --report`: what is drawn for which model, where, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cpixelcnn.datasets.drawings import CLASSES
from cpixelcnn.model.network import PixelCNN

Cli = Callable[..., Any]


@pytest.fixture
def model(make_model: Callable[..., PixelCNN], tmp_path: Path) -> Path:
    """Arbitrary weights, so that there are mistakes."""
    make_model(classes=CLASSES, image_height=8, image_width=8).save(tmp_path / "some.safetensors")
    return tmp_path / "some.safetensors"


def test_all_that_there_is_to_draw(cli: Cli, model: Path, photographs: Path) -> None:
    data = ["--dataset", "folder", "--data-dir", photographs]
    outcome = cli("eval", "--model", model, *data, "--map", "map.png", "--plots", "plots", "--report", "page.html")
    assert outcome.code == 0, outcome.err
    assert "accuracy" in outcome.out
    listed = json.loads(Path("plots/pictures.json").read_text())
    assert {"confusion.png", "reliability.png", "mistakes.png", "evidence-01.png", "bits.png"} <= set(
        listed["pictures"]
    )
    assert {path.name for path in Path("plots").iterdir()} == {"pictures.json", *listed["pictures"]}
    assert (listed["dataset"], listed["n_images"]) == ("folder", 8)
    for name in listed["pictures"]:
        assert f"written    plots/{name}" in outcome.err
        with Image.open(Path("plots") / name) as picture:
            assert picture.format == "PNG"
    assert "written    map.png" in outcome.err
    page = Path("page.html").read_text(encoding="utf-8")
    for shown in (
        "Evaluation of some",
        "folder, test split, 8 images",
        "Reliability",
        "mistakes",
        "Samples",
        CLASSES[3],
    ):
        assert shown in page
    assert "cpixelcnn eval --model" in page


def test_ten_views_are_drawn_too(cli: Cli, model: Path, photographs: Path) -> None:
    for path in photographs.rglob("*.png"):
        Image.open(path).resize((20, 20)).save(path)
    data = ["--dataset", "folder", "--data-dir", photographs]
    outcome = cli("eval", "--model", model, *data, "--views", 10, "--plots", "plots", "--report", "page.html")
    assert outcome.code == 0, outcome.err
    assert Path("plots/evidence-01.png").is_file()
    assert Path("page.html").is_file()


def test_a_model_without_classes_has_bits_and_samples(
    cli: Cli, make_model: Callable[..., PixelCNN], photographs: Path
) -> None:
    make_model(image_height=8, image_width=8, early_fusion="none", film="none").save("plain.safetensors")
    data = ["--dataset", "folder", "--data-dir", photographs]
    outcome = cli("eval", "--model", "plain.safetensors", *data, "--plots", "plots", "--report", "page.html")
    assert outcome.code == 0, outcome.err
    assert json.loads(Path("plots/pictures.json").read_text())["pictures"] == ["bits.png"]
    page = Path("page.html").read_text(encoding="utf-8")
    assert "Bits/dim, marginal" in page
    assert "Confusion" not in page


def test_a_folder_of_ours_is_taken_again_and_another_is_refused(cli: Cli, model: Path, photographs: Path) -> None:
    data = ["--model", model, "--dataset", "folder", "--data-dir", photographs]
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("all of it")
    refused = cli("eval", *data, "--plots", "mine")
    assert refused.code == 2
    assert "--plots mine holds files" in refused.err
    assert refused.out == ""
    Path("ours").mkdir()
    Path("ours/pictures.json").write_text("{}")
    assert cli("eval", *data, "--plots", "ours").code == 0


@pytest.mark.parametrize("flag", ["--map", "--report"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(cli: Cli, model: Path, flag: str) -> None:
    outcome = cli("eval", "--model", model, flag, "nowhere/file")
    assert outcome.code == 2
    assert f"{flag} nowhere/file cannot be written" in outcome.err
    assert "scoring" not in outcome.err


def test_pictures_are_of_one_model(cli: Cli, model: Path) -> None:
    outcome = cli("eval", "--model", model, "--model", model, "--report", "page.html")
    assert outcome.code == 2
    assert "--report" in outcome.err
