"""`cpixelcnn classify`: every image that can be read, whatever the others are."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.datasets.decoding import read_images
from cpixelcnn.evaluation.classify import classify
from cpixelcnn.runs.models import load

Cli = Callable[..., Any]
CLASSES = ["hamburger", "panda", "koala", "pizza"]


def test_the_document(cli: Cli, home: Path, run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    outcome = cli("classify", pictures, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert {"model", "classes", "results", "errors", "accuracy"} <= set(document)
    assert document["classes"] == CLASSES
    assert document["errors"] == []
    results = document["results"]
    paths = [Path(result["path"]) for result in results]
    assert sorted(paths) == sorted(pictures.rglob("*.png"))
    images = read_images(paths, channels=3, height=8, width=8).images
    expected = classify(load(run), images)
    for i, result in enumerate(results):
        assert set(result) >= {"path", "label", "index", "probability", "probabilities", "log_likelihoods"}
        assert result["index"] == int(expected.predictions[i])
        assert result["label"] == CLASSES[result["index"]]
        assert result["probability"] == max(result["probabilities"])
        assert math.isclose(sum(result["probabilities"]), 1)
        assert torch.allclose(torch.tensor(result["log_likelihoods"]).double(), expected.log_likelihoods[i], rtol=1e-4)
    right = sum(result["label"] == path.parent.name for result, path in zip(results, paths, strict=True))
    assert document["accuracy"] == right / 8


def test_for_people(cli: Cli, run: Path, pictures: Path) -> None:
    outcome = cli("classify", pictures, "--model", run)
    assert outcome.code == 0, outcome.err
    assert "8 images" in outcome.out
    assert "runner-up" in outcome.out
    assert "on 8 images whose folder names a class" in outcome.out


def test_without_known_classes_there_is_no_accuracy(cli: Cli, run: Path, pictures: Path, tmp_path: Path) -> None:
    lone = shutil.copy(next(pictures.rglob("*.png")), tmp_path / "lone.png")
    outcome = cli("classify", lone, "--model", run, "--json")
    assert "accuracy" not in outcome.document
    assert len(outcome.document["results"]) == 1
    assert "accuracy" not in cli("classify", lone, "--model", run).out


@pytest.fixture
def bad(pictures: Path) -> list[Path]:
    files = [pictures / "koala" / "text.png", pictures / "koala" / "zero.jpg", pictures / "half.png"]
    files[0].write_text("not an image")
    files[1].touch()
    sound = next((pictures / "pizza").iterdir()).read_bytes()
    files[2].write_bytes(sound[: len(sound) // 2])
    return files


def test_bad_images_do_not_keep_the_others_from_being_classified(
    cli: Cli, run: Path, pictures: Path, bad: list[Path]
) -> None:
    outcome = cli("classify", pictures, "--model", run, "--json")
    assert outcome.code == 3
    document = outcome.document
    assert len(document["results"]) == 8
    assert sorted(Path(error["path"]) for error in document["errors"]) == sorted(bad)
    assert all(error["error"] for error in document["errors"])
    for path in bad:
        assert path.name in outcome.err
    people = cli("classify", pictures, "--model", run)
    assert people.code == 3
    assert "8 images" in people.out
    assert "the others were classified" in people.err


def test_skip_bad_is_content_with_that(cli: Cli, run: Path, pictures: Path, bad: list[Path]) -> None:
    outcome = cli("classify", pictures, "--model", run, "--json", "--skip-bad")
    assert outcome.code == 0
    assert len(outcome.document["results"]) == 8
    assert len(outcome.document["errors"]) == 3
    assert "text.png" in outcome.err


def test_nothing_but_bad_images(cli: Cli, run: Path, bad: list[Path], tmp_path: Path) -> None:
    outcome = cli("classify", *bad, "--model", run, "--json")
    assert outcome.code == 3
    assert outcome.document["exit_code"] == 3
    (tmp_path / "empty").mkdir()
    outcome = cli("classify", tmp_path / "empty", "--model", run, "--json")
    assert outcome.code == 3
    assert "empty" in outcome.document["error"]


@pytest.mark.parametrize(
    "name", ["with space", "brackets [bold] [red]", "grün 猫", "-leading", "a :pizza: b", "back\\slash[red]"]
)
def test_names_are_shown_as_they_are(cli: Cli, run: Path, pictures: Path, name: str) -> None:
    folder = pictures.rename(pictures.with_name(name))
    outcome = cli("classify", folder, "--model", run)
    assert outcome.code == 0, outcome.err
    assert name in "".join(outcome.out.split("\n"))
    results = cli("classify", "--model", run, "--json", "--", folder.relative_to(folder.parent)).document["results"]
    assert all(Path(result["path"]).parts[0] == name for result in results)


def test_the_batch_size_does_not_matter(cli: Cli, run: Path, pictures: Path) -> None:
    whole = cli("classify", pictures, "--model", run, "--json").document["results"]
    parts = cli("classify", pictures, "--model", run, "--json", "-b", 3).document["results"]
    for one, other in zip(whole, parts, strict=True):
        assert one["log_likelihoods"] == pytest.approx(other["log_likelihoods"], rel=1e-4)
        assert one["label"] == other["label"]


def test_names_on_standard_input_and_patterns(
    cli: Cli, run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(pictures.rglob("*.png"))
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{path}\n" for path in paths[:3])))
    found = cli("classify", "-", "--model", run, "--json").document
    assert [result["path"] for result in found["results"]] == [str(path) for path in paths[:3]]
    found = cli("classify", pictures / "p*", "--model", run, "--json").document
    assert len(found["results"]) == 4, "panda and pizza"
