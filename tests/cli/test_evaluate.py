"""What `cpixelcnn eval` adds to its scores: views, priors, the file of log-likelihoods."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.compression import COMPRESSIONS
from cpixelcnn.datasets.image_set import match_classes
from cpixelcnn.datasets.photographs import with_crops
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.evaluation.classify import classify
from cpixelcnn.model.weights import load_weights, save_weights
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


def test_corners_of_files_that_were_compressed_are_so_again(cli: Cli, run: Path, photographs: Path) -> None:
    """As the training images of cpen455 were."""
    config, state = load_weights(run / "best" / "ema.safetensors")
    save_weights(Path("course.safetensors"), state, dataclasses.replace(config, data=DataConfig(dataset="cpen455")))
    for path in photographs.rglob("*.png"):
        Image.open(path).resize((64, 64)).save(path.with_suffix(".jpg"), quality=75)
        path.unlink()
    data = ["-d", "folder", "-i", photographs, "--split", "validation", "--views", 10]
    for model, compression in (("course.safetensors", COMPRESSIONS["cpen455"]), (run, None)):
        outcome = cli("eval", "--model", model, *data, "--save-log-likelihoods", "ten.npz", "--json")
        assert outcome.code == 0, outcome.err
        images = load_split(DataConfig(dataset="folder", data_dir=str(photographs), image_size=8), "validation")
        images = with_crops(match_classes(images, config.model.classes), compression=compression)
        expected = classify(load(model), images.images, crops=images.crops, views=10)
        with np.load("ten.npz") as arrays:
            np.testing.assert_allclose(arrays["log_likelihoods"], expected.log_likelihoods.numpy(), rtol=1e-7)


def test_classify_looks_at_ten_views_where_the_calibration_did(cli: Cli, run: Path, photographs: Path) -> None:
    for path in photographs.rglob("*.png"):
        for copy in range(3):
            Image.open(path).resize((20 + copy, 20)).save(path.with_stem(f"{path.stem}-{copy}"))
    weights = shutil.copy(run / "best" / "ema.safetensors", "model.safetensors")
    data = ["-d", "folder", "-i", photographs, "--views", 10, "--calibrate", "validation"]
    fitted = cli("eval", "--model", weights, *data, "--json")
    assert fitted.code == 0, fitted.err
    assert fitted.document["calibration"]["views"] == 10
    document = cli("classify", photographs / "test", "--model", weights, "--json").document
    assert (document["views"], document["temperature"]) == (10, fitted.document["calibration"]["temperature"])


def test_a_run_on_crops_goes_on_exactly_and_is_scored_on_its_photographs(cli: Cli, photographs: Path) -> None:
    for path in photographs.rglob("*.png"):
        Image.open(path).resize((20, 20)).save(path)
    data = ["-d", "folder", "-i", photographs, "--image-size", 8, "--crops", 1]
    sizes = ["--nr-filters", 4, "--nr-resnets", 1, "--nr-logistic-mix", 1, "-b", 8, "-x", 1, "--no-test"]
    for arguments in (["-o", "whole"], ["-o", "parts", "--max-minutes", 1e-9]):
        outcome = cli("train", *data, *sizes, *arguments)
        assert outcome.code == 0, outcome.err
    assert cli("train", "--resume", "parts", "--max-minutes", 0, "--no-test").code == 0
    records = [json.loads(Path(run, "metrics.jsonl").read_text().splitlines()[-1]) for run in ("whole", "parts")]
    assert [record["images_seen"] for record in records] == [24, 24]
    whole, parts = (load(run).state_dict() for run in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    scored = cli("eval", "--model", "whole", "--split", "train", "--json").document
    assert (scored["n_images"], scored["data"]["crops"]) == (12, 0)


def test_what_looks_at_one_view_needs_no_files(cli: Cli, run: Path, make_model: Any) -> None:
    make_model(image_height=8, image_width=8, early_fusion="none", film="none").save("plain.safetensors")
    plain = cli("eval", "--model", "plain.safetensors", "-d", "embedded", "--split", "train", "--views", 10)
    assert plain.code == 0, plain.err
    strangers = ["--unfamiliar", "noise", "--max-images", 8, "--split", "train", "--views", 10]
    assert cli("eval", "--model", run, *strangers, "--scores", "png").code == 0


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
