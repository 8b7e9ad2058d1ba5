"""`cpixelcnn classify --explain FOLDER`: a picture for each image, none mistaken for another, nothing overwritten."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cpixelcnn.datasets.drawings import CLASSES
from cpixelcnn.model.network import PixelCNN

Cli = Callable[..., Any]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "explanations.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def model(make_model: Callable[..., PixelCNN], tmp_path: Path) -> Path:
    """A model of arbitrary weights, which is there sooner than a trained one."""
    make_model(classes=CLASSES, image_height=8, image_width=8).save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def twins(pictures: Path, tmp_path: Path) -> Path:
    """Three images, two of them of one name."""
    files = sorted(pictures.rglob("*.png"))
    for name, file in (("a/twin.png", files[0]), ("b/twin.png", files[1]), ("b/a name.png", files[2])):
        target = tmp_path / "twins" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return tmp_path / "twins"


@pytest.mark.parametrize("views", [1, 2, 10])
def test_every_image_is_explained(cli: Cli, model: Path, twins: Path, views: int) -> None:
    if views == 10:  # large enough to be cut
        for path in twins.rglob("*.png"):
            Image.open(path).resize((20, 20)).save(path)
    outcome = cli(
        "classify", twins, "--model", model, "--explain", "why", "--batch-size", 2, "--views", views, "--json"
    )
    assert outcome.code == 0, outcome.err
    assert "explained  3 images: why/explanations.csv" in outcome.err
    results = outcome.document["results"]
    found = rows(Path("why"))
    assert [row["image"] for row in found] == [result["path"] for result in results]
    assert len({row["picture"] for row in found}) == 3
    assert {path.name for path in Path("why").iterdir()} == {"explanations.csv", *(row["picture"] for row in found)}
    for row, result in zip(found, results, strict=True):
        first, second = sorted(result["log_likelihoods"], reverse=True)[:2]
        assert row["class"] == result["label"] != row["against"]
        assert float(row["nats"]) == pytest.approx(first - second, abs=1e-3)
        with Image.open(Path("why") / row["picture"]) as picture:
            assert picture.size == (1080, 380)


def test_a_prior_may_rule_out_all_other_classes(cli: Cli, model: Path, twins: Path) -> None:
    outcome = cli("classify", twins, "--model", model, "--explain", "why", "--prior", "0,0,1,0")
    assert outcome.code == 0, outcome.err
    assert {(row["class"], row["against"] != "koala") for row in rows(Path("why"))} == {("koala", True)}


def test_a_folder_of_ours_is_taken_again_and_another_is_refused(cli: Cli, model: Path, twins: Path) -> None:
    assert cli("classify", twins, "--model", model, "--explain", "why").code == 0
    assert cli("classify", twins / "a", "--model", model, "--explain", "why").code == 0
    assert len(rows(Path("why"))) == 1
    refused = cli("classify", twins, "--model", model, "--explain", twins)
    assert refused.code == 2
    assert "choose an empty folder" in refused.err
    assert len(list(twins.rglob("*"))) == 5


def test_what_is_no_folder_is_refused_before_the_work(cli: Cli, model: Path, twins: Path) -> None:
    refused = cli("classify", twins, "--model", model, "--explain", twins / "a" / "twin.png")
    assert refused.code == 2
    assert "--explain" in refused.err
    assert refused.out == ""
