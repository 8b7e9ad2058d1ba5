"""What `cpixelcnn eval` adds to its scores: views, priors, the file of log-likelihoods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import match_classes
from cpixelcnn.datasets.photographs import with_crops
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.evaluation.classify import classify
from cpixelcnn.runs.models import load

Cli = Callable[..., Any]


def test_views_are_averaged_and_bits_are_those_of_the_images(cli: Cli, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "both.npz"
    once = cli("eval", "--model", run, "--split", "train", "--json").document
    outcome = cli("eval", "--model", run, "--split", "train", "--views", 2, "--save-log-likelihoods", file, "--json")
    assert outcome.code == 0, outcome.err
    twice = outcome.document
    assert (once["views"], twice["views"]) == (1, 2)
    assert twice["bpd"] == once["bpd"]
    images = load_split(DataConfig(image_size=8, train_size=16), "train")
    expected = classify(load(run), images.images, views=2)
    with np.load(file) as arrays:
        np.testing.assert_allclose(arrays["log_likelihoods"], expected.log_likelihoods.numpy(), rtol=1e-7)
        assert arrays["labels"].tolist() == images.labels.tolist()
        assert arrays["classes"].tolist() == list(images.classes)
    assert twice["accuracy"] == float((expected.predictions == images.labels).double().mean())
    for_people = cli("eval", "--model", run, "--split", "train", "--views", 2).out
    assert any("views" in line and "2, by the mean" in line for line in for_people.splitlines())
    assert cli("eval", "--model", run, "--views", 3).code == 2


def test_ten_views_show_the_corners_of_files(cli: Cli, run: Path, photographs: Path, tmp_path: Path) -> None:
    for path in photographs.rglob("*.png"):
        Image.open(path).resize((20, 20)).save(path)
    file = tmp_path / "ten.npz"
    arguments = ["eval", "--model", run, "-d", "folder", "-i", photographs, "--split", "validation", "--views", 10]
    outcome = cli(*arguments, "--save-log-likelihoods", file, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["views"] == 10
    config = DataConfig(dataset="folder", data_dir=str(photographs), image_size=8)
    model = load(run)
    images = with_crops(match_classes(load_split(config, "validation"), model.config.classes))
    expected = classify(model, images.images, crops=images.crops, views=10)
    with np.load(file) as arrays:
        np.testing.assert_allclose(arrays["log_likelihoods"], expected.log_likelihoods.numpy(), rtol=1e-7)


def test_ten_views_of_images_without_files_are_refused(cli: Cli, run: Path) -> None:
    outcome = cli("eval", "--model", run, "--split", "train", "--views", 10)
    assert outcome.code == 3
    assert "the images of embedded have no files" in outcome.err
    assert "pass --views 1 or 2" in outcome.err


def test_log_likelihoods_give_the_scores_of_eval(cli: Cli, run: Path, tmp_path: Path) -> None:
    """Whoever has the file can compute everything again."""
    file = tmp_path / "likelihoods.npz"
    outcome = cli("eval", "--model", run, "--split", "validation", "--save-log-likelihoods", file, "--json")
    assert f"written    {file}" in outcome.err
    with np.load(file) as arrays:
        right = arrays["log_likelihoods"].argmax(axis=1) == arrays["labels"]
        own = arrays["log_likelihoods"][np.arange(len(right)), arrays["labels"]]
    assert outcome.document["accuracy"] == pytest.approx(right.mean())
    assert outcome.document["bpd"] == pytest.approx(-own.mean() / (8 * 8 * 3 * np.log(2)))


@pytest.mark.parametrize("place", ["absent/x.npz", "."])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    cli: Cli, run: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_: pytest.fail("the work has begun"))
    outcome = cli("eval", "--model", run, "--split", "train", "--save-log-likelihoods", place)
    assert outcome.code == 2
    assert "--save-log-likelihoods" in outcome.err


def test_an_estimated_prior_is_told(cli: Cli, run: Path) -> None:
    estimated = cli("eval", "--model", run, "--split", "train", "--prior", "estimated", "--json").document["prior"]
    assert sum(estimated) == pytest.approx(1)
    assert cli("eval", "--model", run, "--split", "train", "--json").document["prior"] == pytest.approx([0.25] * 4)
    assert cli("eval", "--model", run, "--split", "train", "--prior", "3,1,0,0", "--json").document[
        "prior"
    ] == pytest.approx([0.75, 0.25, 0, 0])


def test_calibrating_names_its_split_alone(cli: Cli, run: Path) -> None:
    outcome = cli("eval", "--model", run, "--calibrate", "test", "--split", "train")
    assert outcome.code == 2
    assert "--calibrate names the split" in outcome.err
