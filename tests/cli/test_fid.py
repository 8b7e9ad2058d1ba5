"""`cpixelcnn fid`: samples against a data set or against statistics, with what one must know to read the number."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from cpixelcnn.cli import fid_reference
from cpixelcnn.fid import features
from cpixelcnn.fid.protocols import PROTOCOLS
from cpixelcnn.sampling.folder.reader import read_samples

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[..., Any]]:
    """A cache for features of the same images, and the way to Inception that makes each network once."""
    return tmp_path_factory.mktemp("cache"), cache(features._inception)


@pytest.fixture(autouse=True)
def made_once(alone: None, kept: tuple[Path, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept[0]))
    monkeypatch.setattr(features, "_inception", kept[1])


@pytest.fixture
def samples(cli: Cli, run: Path, tmp_path: Path) -> Path:
    assert cli("sample", "--model", run, "-k", 1, "--out", tmp_path / "samples").code == 0
    return tmp_path / "samples"


@pytest.fixture
def inception(inception_weights: Path) -> list[object]:
    return ["--weights", inception_weights, "--dims", 64, "--device", "cpu"]


@pytest.fixture
def against(photographs: Path) -> list[object]:
    return ["--dataset", "folder", "--data-dir", photographs]


def test_the_document(cli: Cli, samples: Path, against: list[object], inception: list[object]) -> None:
    outcome = cli("fid", "--samples", samples, *against, *inception, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert {"value", "features", "dims", "n_samples", "n_reference", "protocol", "floor"} <= set(document)
    assert (document["features"], document["dims"]) == ("inception", 64)
    assert (document["n_samples"], document["n_reference"]) == (4, 8)
    assert document["value"] > 0
    assert document["floor"] > 0
    assert document["is_fid"] is True
    assert "folder test" in document["protocol"]
    assert "folder train" in document["protocol"]
    assert "rank-deficient" in outcome.err  # four samples in 64 dimensions
    again = cli("fid", "--samples", samples, *against, *inception, "--json")
    assert again.document["value"] == pytest.approx(document["value"])


def test_for_people(cli: Cli, samples: Path, against: list[object], inception: list[object]) -> None:
    outcome = cli("fid", "--samples", samples, *against, *inception, "--per-class")
    assert outcome.code == 0, outcome.err
    for text in (
        "FID",
        "KID",
        "+-",
        "floor (4 real images)",
        *("precision", "recall", "density", "coverage"),
        "panda (1 of 2)",
        "4 (8x8 RGB), covariance of rank 3 at most",
        "8 (8x8 RGB), covariance of rank 7 at most",
        "hamburger 1, panda 1, koala 1, pizza 1",
        "hamburger 2, panda 2, koala 2, pizza 2",
        "inception, 64 dimensions",
    ):
        assert text in outcome.out, outcome.out


def write_course(root: Path) -> Path:
    """The layout of cpen455 with two images of each class in every split, 64x64 as there."""
    from cpixelcnn.datasets.drawings import generate

    for split in ("train", "validation", "test"):
        (root / split).mkdir(parents=True)
        images, labels = generate(split, 8, height=64, width=64)
        lines = []
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(np.moveaxis(image, 0, 2)).save(root / split / f"{number}.png")
            lines.append(f"{split}/{number}.png,{-1 if split == 'test' else label}\n")
        (root / f"{split}.csv").write_text("".join(lines))
    return root


def test_the_course_s_protocol(
    cli: Cli, samples: Path, inception_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References as they are stored, samples as many of each class as it says; the floor has the samples' size."""
    monkeypatch.setitem(PROTOCOLS, "course", dataclasses.replace(PROTOCOLS["course"], n_per_class=1))
    course = ["fid", "--samples", samples, "--protocol", "course", "--weights", inception_weights, "--device", "cpu"]
    data = ["--dataset", "cpen455", "--data-dir", write_course(tmp_path / "course")]
    outcome = cli(*course, *data, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert (document["measured_by"], document["features"], document["dims"]) == ("course", "inception", 192)
    assert (document["sample_size"], document["reference_size"]) == ("8x8 RGB", "64x64 RGB")
    assert (document["n_samples"], document["n_reference"], document["n_floor"]) == (4, 8, 4)
    assert "train (8x8 RGB)" in document["protocol"]
    assert (document["rank_samples"], document["rank_reference"]) == (3, 7)
    assert document["balance"]["samples"] == [1, 1, 1, 1]
    assert document["balance"]["reference"] is None
    told = "\n".join(document["warnings"])
    assert "rank-deficient" in told
    assert "samples are 8x8 RGB but reference images 64x64 RGB" in told
    outcome = cli(*course, *data, "--per-class", "--json")
    assert outcome.code == 3
    assert "such as validation" in outcome.document["error"]
    outcome = cli(*course, "--json")
    assert outcome.code == 2
    assert "--protocol course compares with images of cpen455" in outcome.document["error"]


def test_the_standard_protocol(
    cli: Cli, samples: Path, against: list[object], photographs: Path, inception_weights: Path
) -> None:
    standard = ["fid", "--samples", samples, "--protocol", "standard", "--weights", inception_weights, "--json"]
    outcome = cli(*standard, *against)
    assert outcome.code == 0, outcome.err
    assert (outcome.document["measured_by"], outcome.document["dims"]) == ("standard", 2048)
    assert "takes 10,000 samples or more, and these are 4" in outcome.err
    outcome = cli(*standard, *against, "--reference-size", 16)
    assert outcome.code == 2
    assert "preprocessed alike" in outcome.document["error"]


def test_a_protocol_and_what_contradicts_it(cli: Cli, samples: Path) -> None:
    for arguments, message in (
        (["course", "--dims", 64], "--protocol course means --dims 192, but 64 is given"),
        (["course", "--features", "efficientnet-lite0"], "--features inception"),
        (["course", "--split", "train"], "--split test"),
        (["course", "--reference-size", 32], "--reference-size 64"),
        (["cours"], "did you mean 'course'"),
    ):
        outcome = cli("fid", "--samples", samples, "--protocol", *arguments, "--json")
        assert outcome.code == 2
        assert message in outcome.document["error"]
    outcome = cli("fid", "--samples", samples, "--protocol", "course", "--json")
    assert outcome.code == 3  # never another network in its place
    assert "--weights" in outcome.document["error"]


def test_distances_of_the_classes(cli: Cli, samples: Path, against: list[object], inception: list[object]) -> None:
    outcome = cli("fid", "--samples", samples, *against, *inception, "--per-class", "--json")
    assert outcome.code == 0, outcome.err
    assert [(of["name"], of["n_samples"], of["n_reference"]) for of in outcome.document["per_class"]] == [
        (name, 1, 2) for name in ("hamburger", "panda", "koala", "pizza")
    ]
    assert {of["value"] for of in outcome.document["per_class"]} == {None}  # of one image each


def test_the_samples_of_the_shipped_model_of_photographs_need_no_data(cli: Cli, photographs: Path) -> None:
    """The package has features of the images that it may not have itself."""
    enlarged = photographs / "enlarged"
    enlarged.mkdir()
    for path in sorted((photographs / "test").rglob("*.png")):
        Image.open(path).resize((32, 32)).save(enlarged / f"{path.parent.name}-{path.name}")
    common = ["fid", "--samples", enlarged, "--model", "small"]
    outcome = cli(*common, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert (document["features"], document["is_fid"]) == ("efficientnet-lite0", False)
    assert (document["n_samples"], document["n_reference"], document["n_floor"]) == (8, 519, 8)
    assert document["kernel"]["value"] > document["kernel_floor"]["value"]
    assert "that come with the package" in outcome.err
    outcome = cli(*common, "--split", "validation", "--json")
    assert outcome.code == 2
    assert "--data-dir" in outcome.document["error"]


def test_what_sample_draws_by_default_is_compared_without_data(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where Inception could be had: of the photographs, the package has another network's features alone."""

    def never(*_: object) -> None:
        raise AssertionError("Inception has nothing to compare with")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cpixelcnn.fid.features._inception", never)
    drawn = cli("sample", "-k", 1)
    assert drawn.code == 0, drawn.err
    assert "shipped model 'small-crops' (no finished run under runs/)" in drawn.err
    outcome = cli("fid", "--samples", "out", "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.document["features"], outcome.document["n_reference"]) == ("efficientnet-lite0", 519)


def test_real_images_against_themselves(
    cli: Cli, photographs: Path, against: list[object], inception: list[object]
) -> None:
    """Any folder of images will do for samples; with a data set named, no model is needed."""
    outcome = cli("fid", "--samples", photographs / "test", *against, *inception, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["value"] == pytest.approx(0, abs=1e-6)
    assert outcome.document["floor"] > 0.001


def test_an_archive_is_worth_its_images(
    cli: Cli, samples: Path, against: list[object], inception: list[object], tmp_path: Path
) -> None:
    images, _ = read_samples(samples)
    np.savez(tmp_path / "all.npz", images.images.permute(0, 2, 3, 1).numpy())
    values = []
    for place in (samples, tmp_path / "all.npz"):
        outcome = cli("fid", "--samples", place, *against, *inception, "--json")
        assert outcome.code == 0, outcome.err
        values.append(outcome.document["value"])
    assert values[0] == pytest.approx(values[1])


def test_images_without_a_manifest_take_the_data_of_a_model(
    cli: Cli, run: Path, photographs: Path, inception: list[object]
) -> None:
    outcome = cli("fid", "--samples", photographs / "test", *inception, "--model", "absent", "--json")
    assert outcome.code == 4
    assert "absent" in outcome.document["error"]
    outcome = cli("fid", "--samples", photographs / "test", *inception, "--model", run, "--data-dir", ".", "--json")
    assert outcome.code == 2  # the embedded data set lies in no directory
    assert "for the data set that it names" in outcome.err


def test_statistics_instead_of_a_data_set(cli: Cli, samples: Path, inception: list[object], tmp_path: Path) -> None:
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(64), sigma=np.eye(64))
    outcome = cli("fid", "--samples", samples, "--reference", tmp_path / "statistics.npz", *inception, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["n_reference"] is None
    assert outcome.document["floor"] is None
    np.savez(tmp_path / "other.npz", mu=np.zeros(3), sigma=np.eye(3))
    outcome = cli("fid", "--samples", samples, "--reference", tmp_path / "other.npz", *inception, "--json")
    assert outcome.code == 3
    assert "3 dimensions" in outcome.document["error"]


def test_a_folder_as_reference_and_its_statistics(
    cli: Cli, samples: Path, photographs: Path, inception: list[object], tmp_path: Path
) -> None:
    saved = tmp_path / "photographs.npz"
    common = ["fid", "--samples", samples, *inception, "--json"]
    first = cli(*common, "--reference", photographs / "test", "--save-statistics", saved)
    assert first.code == 0, first.err
    assert first.document["n_reference"] == 8
    second = cli(*common, "--reference", saved)
    assert second.code == 0, second.err
    assert second.document["n_reference"] == 8
    assert second.document["value"] == pytest.approx(first.document["value"])


def test_the_network_is_named_before_the_work_and_never_replaced(cli: Cli, against: list[object]) -> None:
    Path("empty").mkdir()
    outcome = cli("fid", "--samples", "empty", *against, "--json")
    assert "features   efficientnet-lite0" in outcome.err
    assert outcome.code == 3
    outcome = cli("fid", "--samples", "empty", *against, "--dims", 2048, "--json")
    assert outcome.code == 3
    assert "--dims 2048 asks for Inception" in outcome.document["error"]


def test_the_floor_says_how_many_images_it_comes_from(
    cli: Cli, photographs: Path, against: list[object], inception: list[object]
) -> None:
    """The number is that of the images there were, which may be fewer than the samples."""
    outcome = cli("fid", "--samples", photographs, *against, *inception)
    assert outcome.code == 0, outcome.err
    document = cli("fid", "--samples", photographs, *against, *inception, "--json").document
    assert document["n_floor"] < document["n_samples"]
    assert f"({document['n_floor']} real images)" in outcome.out


def test_without_inception_another_network_answers_and_says_so(cli: Cli, samples: Path, against: list[object]) -> None:
    outcome = cli("fid", "--samples", samples, *against, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert (document["features"], document["dims"], document["is_fid"]) == ("efficientnet-lite0", 1280, False)
    assert "not an FID" in outcome.err
    assert "--weights" in outcome.err
    refused = cli("fid", "--samples", samples, *against, "--features", "inception", "--json")
    assert refused.code == 3
    assert "--weights" in refused.document["error"]


def test_by_default_the_reference_is_what_the_samples_were_learned_from(
    cli: Cli, samples: Path, inception: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, int | None]] = []

    def instead(_: Any, config: Any, split: str, *__: Any) -> Any:
        asked.append((config.dataset, split, config.image_size))
        raise typer.Exit(0)

    monkeypatch.setattr(fid_reference.ReferenceOptions, "_load", instead)
    cli("fid", "--samples", samples, *inception)
    cli("fid", "--samples", samples, *inception, "--split", "validation", "--reference-size", 16)
    assert asked == [("embedded", "test", 8), ("embedded", "validation", 16)]


def test_mistakes(
    cli: Cli, run: Path, samples: Path, against: list[object], inception: list[object], tmp_path: Path
) -> None:
    (tmp_path / "lone").mkdir()
    (tmp_path / "lone" / "manifest.json").write_text('{"manifest_version": 9, "images": [], "data": {}}')
    outcome = cli("fid", "--samples", tmp_path / "lone", *inception, "--json")
    assert outcome.code == 3
    assert "format 9, newer" in outcome.document["error"]
    (tmp_path / "lone" / "manifest.json").unlink()
    (tmp_path / "lone" / "one.png").write_bytes((samples / "panda-00001.png").read_bytes())
    for arguments, code, message in (
        (["--samples", samples, "--features", "incepton"], 2, "--features"),
        (["--samples", samples, "--dims", 100, *inception[:2]], 2, "--dims 100"),
        (["--samples", samples, "--weights", "absent.pth", "--dims", 64], 3, "absent.pth"),
        (["--samples", tmp_path / "lone", "--model", run, *inception], 3, "at least 2 images"),
        (["--samples", samples, "--split", "tset", *inception], 2, "tset"),
    ):
        outcome = cli("fid", *against, *arguments, "--json")
        assert outcome.code == code, outcome.err
        assert message in outcome.document["error"]
    outcome = cli("fid", "--samples", samples, "--reference", "absent.npz", *inception, "--json")
    assert outcome.code == 3
    assert "absent.npz" in outcome.document["error"]
    outcome = cli("fid", "--samples", samples, "--reference", samples, *against, *inception, "--json")
    assert outcome.code == 2
    assert "leave out --dataset, --data-dir" in outcome.document["error"]
    outcome = cli("fid", "--json")
    assert outcome.code == 2
    assert "--samples" in outcome.err
