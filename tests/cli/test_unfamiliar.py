"""`cpixelcnn eval --unfamiliar`, and the column that a threshold adds to `cpixelcnn classify`."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.config import DataConfig, RunConfig
from cpixelcnn.datasets import user_images
from cpixelcnn.datasets.compression import COMPRESSIONS
from cpixelcnn.datasets.drawings import CLASSES
from cpixelcnn.evaluation import unfamiliar
from cpixelcnn.evaluation.familiarity import THRESHOLDS
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import save_weights

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of 20 resamples instead of 200, which took most of the time."""
    monkeypatch.setattr(unfamiliar, "detection", partial(unfamiliar.detection, n_bootstrap=20))


@pytest.fixture
def copy(make_model: Callable[..., PixelCNN], tmp_path: Path) -> Path:
    """A model with arbitrary weights of the embedded images, in a folder of its own."""
    model = make_model(image_height=8, image_width=8, classes=CLASSES)
    path = tmp_path / "copy" / "model.safetensors"
    path.parent.mkdir()
    save_weights(path, model.state_dict(), RunConfig(model.config, DataConfig(image_size=8)))
    return path


def test_noise_flat_colours_and_a_folder(cli: Cli, copy: Path, photographs: Path) -> None:
    names = ["noise", "flat", str(photographs / "test")]
    data = [word for name in names for word in ("--unfamiliar", name)]
    outcome = cli("eval", copy, *data, "--scores", "png,shaking", "--max-images", 20, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert [each["data"] for each in document["unfamiliar"]] == names
    assert (document["familiar"]["n_images"], document["familiar"]["split"]) == (20, "test")
    noise, flat, folder = document["unfamiliar"]
    assert set(noise["scores"]) == {"likelihood", "typicality", "png", "shaking"}
    assert noise["n_images"] == flat["n_images"] == 20
    assert 2 <= folder["n_images"] <= 20
    for found in noise["scores"].values():
        assert 0 <= found["auroc_ci95"][0] <= found["auroc"] <= found["auroc_ci95"][1] <= 1
    assert document["threshold"] is None


@pytest.mark.parametrize("trained_on", ["cpen455", "embedded"])
def test_a_folder_is_read_as_classify_reads_it(
    cli: Cli, make_model: Callable[..., PixelCNN], pictures: Path, monkeypatch: pytest.MonkeyPatch, trained_on: str
) -> None:
    """Compressed as the training images were, for `classify` applies the threshold to such images."""
    model = make_model(image_height=8, image_width=8, classes=CLASSES)
    save_weights(Path("a.safetensors"), model.state_dict(), RunConfig(model.config, DataConfig(dataset=trained_on)))
    asked: list[object] = []
    reads = user_images.read_user_images
    monkeypatch.setattr(
        user_images, "read_user_images", lambda *a, **k: asked.append(k["compression"]) or reads(*a, **k)
    )
    data = ["-d", "embedded", "--max-images", 8, "--scores", "png", "--unfamiliar", pictures]
    outcome = cli("eval", "a.safetensors", *data, "--json")
    assert outcome.code == 0, outcome.err
    assert asked == [COMPRESSIONS.get(trained_on)]


def test_a_learned_threshold_becomes_a_column(cli: Cli, copy: Path, pictures: Path) -> None:
    outcome = cli("eval", copy, "--fit-threshold", "png", "--unfamiliar", "flat", "--max-images", 60, "--scores", "png")
    assert outcome.code == 0, outcome.err
    assert "% above the threshold" in outcome.out
    assert "threshold  png" in outcome.out
    familiarity = THRESHOLDS.find(copy)
    assert familiarity is not None
    assert familiarity.n_images == 60

    people = cli("classify", "--model", copy, pictures)
    assert people.code == 0, people.err
    assert "unfamiliar png above" in people.err
    assert "unfamiliar" in people.out.splitlines()[0]
    document = cli("classify", "--model", copy, pictures, "--csv", "x.csv", "--json").document
    for each in document["results"]:
        assert each["unfamiliar"] == (each["unfamiliarity"] > familiarity.threshold)
    with open("x.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["unfamiliar"] for row in rows] == [str(int(each["unfamiliar"])) for each in document["results"]]
    assert [float(row["unfamiliarity"]) for row in rows] == [each["unfamiliarity"] for each in document["results"]]


def test_without_a_threshold_there_is_no_column(cli: Cli, copy: Path, pictures: Path) -> None:
    people = cli("classify", "--model", copy, pictures, "--csv", "x.csv")
    assert "unfamiliar" not in people.out + people.err + Path("x.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unfamiliar", "noise", "--unfamiliar", "absent"], "neither a folder nor one of noise, flat"),
        (["--unfamiliar", "noise", "--scores", "pgn"], "'pgn' is not known"),
        (["--unfamiliar", "noise", "--scores", "local"], "needs --local-model"),
        (["--fit-threshold", "stirring"], "--fit-threshold can be typicality, png, webp"),
        (["--unfamiliar", "noise", "--model", "tiny"], "are for one model"),
        (["--local-model", "tiny"], "--local-model: for --unfamiliar only"),
        (["--unfamiliar", "noise", "--calibrate", "test"], "--calibrate: for one model and its own scores only"),
        (["--unfamiliar", "noise", "--local-model", "tiny", "--max-images", "2"], "cannot be divided into tiles"),
    ],
)
def test_what_is_refused(cli: Cli, copy: Path, arguments: list[str], message: str) -> None:
    outcome = cli("eval", copy, "--max-images", 5, *arguments)
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    assert outcome.out == ""  # nor is any work done before
