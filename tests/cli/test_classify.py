"""`cpixelcnn classify`: every image that can be read, whatever the others are."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cpixelcnn.cli.classify_output import csv_file
from cpixelcnn.cli.setup import ended_in_order
from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.crops import CORNERS
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.reading import read_images
from cpixelcnn.distributed import ALONE
from cpixelcnn.errors import ConfigError, Interrupted
from cpixelcnn.evaluation.bits_per_dim import bits_per_dim
from cpixelcnn.evaluation.calibration import CALIBRATIONS, fit_calibration
from cpixelcnn.evaluation.classify import classify
from cpixelcnn.model.weights import load_weights, save_weights
from cpixelcnn.runs.models import load

Cli = Callable[..., Any]
CLASSES = ["hamburger", "panda", "koala", "pizza"]


def test_the_document(cli: Cli, home: Path, run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    assert f"shipped model 'small-crops' (for photographs; for your newest run pass --model {run.name})" in (
        cli("classify", pictures).err
    )
    outcome = cli("classify", pictures, "--json", "--model", run.name)
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


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_beside_what_is_printed(cli: Cli, run: Path, pictures: Path, tmp_path: Path) -> None:
    table, submission = tmp_path / "table.csv", tmp_path / "submission.csv"
    outcome = cli("classify", pictures, "--model", run, "--json", "--csv", table, "--submission", submission)
    assert outcome.code == 0, outcome.err
    results = outcome.document["results"]
    rows = rows_of(table)
    assert [row["path"] for row in rows] == [result["path"] for result in results]
    for row, result in zip(rows, results, strict=True):
        assert (row["label"], int(row["index"])) == (result["label"], result["index"])
        assert float(row["probability"]) == result["probability"]
        assert [float(row[f"p({name})"]) for name in CLASSES] == result["probabilities"]
        assert float(row["bits_per_dim"]) == result["bpd"]
    expected = [f"{Path(r['path']).parent.name}/{Path(r['path']).name},{r['index']}" for r in results]
    assert submission.read_text().splitlines() == expected
    assert not list(tmp_path.glob("*.part"))
    assert "table.csv (8 rows)" in outcome.err


def test_the_bits_are_the_marginal_ones(cli: Cli, run: Path, pictures: Path) -> None:
    results = cli("classify", pictures, "--model", run, "--json", "--prior", "1,2,3,4", "--views", 2).document[
        "results"
    ]
    images = read_images([Path(result["path"]) for result in results], channels=3, height=8, width=8).images
    expected = bits_per_dim(load(run), images)
    assert sum(result["bpd"] for result in results) / 8 == pytest.approx(expected.bpd_marginal)


def test_a_submission_has_the_numbers_of_the_course(
    cli: Cli, run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may have the course's classes in another order, as one of a folder has them, or others."""
    from cpixelcnn.datasets import cpen455

    monkeypatch.setattr(cpen455, "CLASSES", ("Pizza", "koala", "panda", "hamburger"))
    submission = tmp_path / "submission.csv"
    outcome = cli("classify", pictures, "--model", run, "--json", "--submission", submission)
    numbers = [int(line.rsplit(",", 1)[1]) for line in submission.read_text().splitlines()]
    assert numbers == [3 - result["index"] if result["index"] in (0, 3) else {1: 2, 2: 1}[result["index"]]
                       for result in outcome.document["results"]]  # fmt: skip
    monkeypatch.setattr(cpen455, "CLASSES", ("sushi", "koala", "panda", "hamburger"))
    outcome = cli("classify", pictures, "--model", run, "--submission", submission)
    assert outcome.code == 2
    assert "the model has pizza; use --csv" in outcome.err


def test_patterns_and_names_on_standard_input(
    cli: Cli, run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cli("classify", pictures / "koala", "--model", run, "--json").document["results"]
    assert len(expected) == 2
    assert cli("classify", pictures / "koa*" / "*.png", "--model", run, "--json").document["results"] == expected
    names = "".join(f"{path}\n" for path in sorted((pictures / "koala").iterdir()))
    monkeypatch.setattr(sys, "stdin", io.StringIO(names))
    assert cli("classify", "-", "--model", run, "--json").document["results"] == expected
    assert cli("classify", pictures / "koa*.jpg", "--model", run, "--json").code == 3


def test_an_older_table_stays_until_the_new_one_is_complete(
    cli: Cli, run: Path, pictures: Path, bad: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("old")
    assert cli("classify", *bad, "--model", run, "--csv", table).code == 3
    assert table.read_text() == "old"
    assert "0 rows written so far" in cli("classify", *bad, "--model", run, "--csv", table).err
    assert cli("classify", pictures, "--model", run, "--csv", table, "--skip-bad").code == 0
    assert len(rows_of(table)) == 8
    outcome = cli("classify", pictures, "--model", run, "--csv", tmp_path / "absent" / "table.csv")
    assert outcome.code == 2
    assert "--csv" in outcome.err and "cannot be written" in outcome.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interruption_loses_nothing(fork: Any, run: Path, pictures: Path, number: int) -> None:
    """Names come over a pipe that stays open, so that the work is never done; then it is interrupted."""
    names = sorted(pictures.rglob("*.png"))[:5]
    os.mkfifo("names")
    options = ["--model", run, "-b", 2, "--json", "--device", "cpu", "--csv", "table.csv"]
    work = fork("classify", "-", *options, stdin="names")
    with open("names", "w", buffering=1) as pipe:
        pipe.write("".join(f"{name}\n" for name in names))
        work.wait_for(lambda: work.out.count('"path"') >= 3)  # the fourth has no end yet
        work.send_signal(number)
        assert work.wait(60) == 128 + number, work.err
    document = json.loads(work.out)
    assert document["exit_code"] == 128 + number
    assert [result["path"] for result in document["results"]] == [str(name) for name in names[:4]]
    assert not Path("table.csv").exists()
    assert [row["path"] for row in rows_of(Path("table.csv.part"))] == [str(name) for name in names[:4]]
    assert "4 rows written so far: table.csv.part" in work.err
    assert "Traceback" not in work.err


@pytest.fixture
def calibrated(run: Path, tmp_path: Path) -> Path:
    """A copy of the weights, with a calibration beside them."""
    weights = Path(shutil.copy(run / "best" / "ema.safetensors", tmp_path / "model.safetensors"))
    generator = torch.Generator().manual_seed(0)
    right = torch.randn(200, 4, generator=generator).double()
    labels = torch.multinomial(right.softmax(dim=1), 1, generator=generator)[:, 0]
    images = torch.zeros(200, 3, 8, 8, dtype=torch.uint8)
    fitted = ImageSet(images, labels, tuple(CLASSES), name="photos", split="validation")
    calibration = fit_calibration(load(run).config, fitted, (50 * right)[None])
    CALIBRATIONS.save(weights, calibration)
    return weights


def test_a_stored_calibration_is_used_and_told(cli: Cli, calibrated: Path, pictures: Path) -> None:
    outcome = cli("classify", pictures, "--model", calibrated, "--json")
    assert "fitted on 200 images of photos (validation)" in outcome.err
    temperature = outcome.document["temperature"]
    assert 20 < temperature < 100
    plain = cli("classify", pictures, "--model", calibrated, "--json", "--uncalibrated")
    assert plain.document["temperature"] is None
    for cooled, hot in zip(outcome.document["results"], plain.document["results"], strict=True):
        assert cooled["label"] == hot["label"]
        assert cooled["log_likelihoods"] == hot["log_likelihoods"]
        assert cooled["probability"] < hot["probability"]
        expected = (torch.tensor(hot["log_likelihoods"], dtype=torch.float64) / temperature).softmax(dim=0)
        assert cooled["probabilities"] == pytest.approx(expected.tolist())
        assert cooled["unusual"] == "high"  # the images of the calibration had next to no bits
        assert "unusual" not in hot
    assert " high " in cli("classify", pictures, "--model", calibrated).out
    assert "fitted on 200 images" in cli("classify", pictures, "--model", calibrated.rename("renamed")).err
    assert "calibrated no" in cli("classify", pictures, "--model", shutil.copy("renamed", pictures / "copy")).err


def test_images_are_looked_at_as_when_the_calibration_was_fitted(cli: Cli, calibrated: Path, pictures: Path) -> None:
    def views(*arguments: object) -> int:
        return int(cli("classify", pictures, "--model", calibrated, "--json", *arguments).document["views"])

    assert views() == 1
    stored = CALIBRATIONS.find(calibrated)
    assert stored is not None
    CALIBRATIONS.save(calibrated, dataclasses.replace(stored, views=2))
    assert (views(), views("--views", 1), views("--uncalibrated")) == (2, 1, 1)
    CALIBRATIONS.save(calibrated, dataclasses.replace(stored, views=8))
    outcome = cli("classify", pictures, "--model", calibrated)
    assert (outcome.code, "--views 8 is for models that tell orientations apart" in outcome.err) == (2, True)


def test_photographs_are_compressed_as_the_training_images_were(
    cli: Cli, run: Path, pictures: Path, tmp_path: Path
) -> None:
    config, state = load_weights(run / "best" / "ema.safetensors")
    weights = tmp_path / "of-the-course.safetensors"
    save_weights(weights, state, dataclasses.replace(config, data=DataConfig(dataset="cpen455")))
    paths = sorted(pictures.rglob("*.png"))
    for path in paths[1:]:
        Image.open(path).resize((40, 40)).save(path)

    def likelihoods(model: Path, *arguments: object) -> tuple[str | None, int, list[list[float]]]:
        document = cli("classify", pictures, "--model", model, "--json", *arguments).document
        results = [result["log_likelihoods"] for result in document["results"]]
        return document["compression"], document["n_compressed"], results

    name, count, compressed = likelihoods(weights)
    assert (name, count) == ("64x64 JPEG of quality 75", 7)
    as_is = likelihoods(weights, "--as-is")
    assert as_is == likelihoods(run) == (None, 0, as_is[2])
    assert [compressed[i] == as_is[2][i] for i in range(8)] == [path == paths[0] for path in paths]
    told = "7 images compressed first, as the training images were: 64x64 JPEG of quality 75; not with --as-is"
    assert told in cli("classify", pictures, "--model", weights).err
    for path in paths[1:]:
        Image.open(path).resize((64, 64), Image.Resampling.BILINEAR).save(path.with_suffix(".jpg"), quality=75)
        path.unlink()
    assert likelihoods(weights) == ("64x64 JPEG of quality 75", 0, compressed)


def test_a_damaged_calibration(cli: Cli, calibrated: Path, pictures: Path) -> None:
    calibrated.with_name(CALIBRATIONS.name).write_text("{")
    outcome = cli("classify", pictures, "--model", calibrated, "--json")
    assert outcome.code == 4
    assert "fit a calibration again" in outcome.err
    assert cli("classify", pictures, "--model", calibrated, "--json", "--uncalibrated").code == 0


def test_an_estimated_prior_is_that_of_all_images(cli: Cli, run: Path, pictures: Path) -> None:
    arguments = ["classify", pictures, "--model", run, "--json", "--prior", "estimated"]
    whole, parts = cli(*arguments), cli(*arguments, "-b", 3)
    assert "prior      estimated from 8 images: hamburger" in whole.err
    images = read_images([Path(r["path"]) for r in whole.document["results"]], channels=3, height=8, width=8).images
    expected = classify(load(run), images, prior="estimated")
    found = [result["probabilities"] for result in whole.document["results"]]
    torch.testing.assert_close(torch.tensor(found).double(), expected.probabilities, rtol=1e-3, atol=1e-3)
    for one, other in zip(whole.document["results"], parts.document["results"], strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-3)


def test_views(cli: Cli, run: Path, pictures: Path) -> None:
    document = cli("classify", pictures, "--model", run, "--json", "--views", 2).document
    assert document["views"] == 2
    images = read_images([Path(r["path"]) for r in document["results"]], channels=3, height=8, width=8).images
    expected = classify(load(run), images, views=2).log_likelihoods
    found = torch.tensor([result["log_likelihoods"] for result in document["results"]]).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
    outcome = cli("classify", pictures, "--model", run, "--views", 3)
    assert (outcome.code, "--views must be 1" in outcome.err) == (2, True)


def test_ten_views_show_the_corners_of_photographs(cli: Cli, run: Path, pictures: Path) -> None:
    for path in sorted(pictures.rglob("*.png"))[1:]:
        Image.open(path).resize((40, 30)).save(path)
    outcome = cli("classify", pictures, "--model", run, "--json", "--views", 10)
    document = outcome.document
    assert document["views"] == 10
    assert "1 photograph is too small for crops, and stands in for them" in outcome.err
    read = read_images([Path(r["path"]) for r in document["results"]], channels=3, height=8, width=8, crops=CORNERS)
    expected = classify(load(run), read.images, crops=read.crops, views=10).log_likelihoods
    found = torch.tensor([result["log_likelihoods"] for result in document["results"]]).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_the_first_picture_of_an_animation_is_told_of(cli: Cli, run: Path, pictures: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (255, 0)]
    frames[0].save(pictures / "moving.gif", save_all=True, append_images=frames[1:])
    outcome = cli("classify", pictures, "--model", run)
    assert "1 image with several frames: the first frame was taken" in outcome.err


def test_a_signal_while_an_image_is_decoded_is_no_damaged_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Decoders raise anything, and all of it means a damaged image; but for a signal."""
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)

    def terminated(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr("cpixelcnn.datasets.decoding._decode", terminated)
    with pytest.raises(Interrupted) as caught, ended_in_order(ALONE):
        read_images([path], channels=3, height=8, width=8)
    assert caught.value.exit_code == 143


@pytest.mark.parametrize("names", [["nowhere"], ["nowhere", "none*.png"], ["empty"]])
def test_paths_are_looked_at_before_a_model_is(cli: Cli, tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    outcome = cli("classify", *names)
    assert outcome.code == 3
    assert outcome.err.startswith(f"error: {len(names)} image")
    assert all(name in outcome.err for name in names)
    assert "model " not in outcome.err


@pytest.mark.parametrize("instead", [None, b""])
def test_a_table_whose_folder_has_gone_meanwhile(tmp_path: Path, instead: bytes | None) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    with (
        pytest.raises(ConfigError, match=r"--csv .*tables/a.csv cannot be written"),
        csv_file(folder / "a.csv", "--csv", CLASSES) as sink,
    ):
        sink([])
        shutil.rmtree(folder)
        if instead is not None:
            folder.write_bytes(instead)
