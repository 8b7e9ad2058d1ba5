"""`cpixelcnn eval` and `cpixelcnn bpd`: the figures of the library, for people and for scripts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cpixelcnn.config import DataConfig, ModelConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.evaluation.evaluate import Evaluation, evaluate
from cpixelcnn.model.weights import load_weights, save_weights
from cpixelcnn.runs import models
from cpixelcnn.runs.models import load
from cpixelcnn.sampling.folder.manifest import Origin
from cpixelcnn.sampling.folder.store import SampleStore
from cpixelcnn.sampling.plan import plan_samples

Cli = Callable[..., Any]


@pytest.fixture
def embedded(run: Path) -> Evaluation:
    return evaluate(load(run), load_split(DataConfig(image_size=8, train_size=16), "test"))


def test_eval_by_default_takes_the_newest_run_and_the_test_split(
    cli: Cli, home: Path, run: Path, embedded: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    outcome = cli("eval", "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert (document["dataset"], document["split"], document["n_images"]) == ("embedded", "test", 60)
    assert Path(document["model"]).samefile(run / "best" / "ema.safetensors")
    assert "newest finished run" in outcome.err
    assert "embedded-tiny-1" in outcome.err
    scores, density = embedded.scores, embedded.density
    assert scores is not None
    assert document["accuracy"] == pytest.approx(scores.accuracy)
    assert document["accuracy_ci95"] == pytest.approx(list(scores.accuracy_ci95))
    assert document["f1_macro"] == pytest.approx(scores.f1_macro)
    assert document["confusion"] == scores.confusion.tolist()
    assert document["nll_posterior"] == pytest.approx(scores.nll_posterior)
    assert document["ece"] == pytest.approx(scores.ece)
    assert document["bpd"] == pytest.approx(density.bpd)
    assert document["bpd_marginal"] == pytest.approx(density.bpd_marginal)
    assert sum(map(sum, document["confusion"])) == 60


def test_eval_by_path_for_people(cli: Cli, run: Path) -> None:
    outcome = cli("eval", "--model", run, "--split", "validation")
    assert outcome.code == 0, outcome.err
    assert "embedded, validation split" in outcome.out
    for figure in ("accuracy", "macro F1", "bits/dim", "confusion", "95 % interval", "calibration error"):
        assert figure in outcome.out
    assert "device     cpu" in outcome.err
    assert "model      run" in outcome.err


@pytest.fixture
def some() -> ImageSet:
    """Images that suit the run."""
    return load_split(DataConfig(image_size=8, train_size=16), "train")


def store_samples(folder: Path, images: ImageSet, **changes: Any) -> Path:
    """A folder of samples as the command would write it, of these images instead of the model's."""
    values: dict[str, Any] = {
        "classes": images.classes,
        "labels": tuple(images.labels.tolist()),
        "data": DataConfig(image_size=8),
        "format": "png",
    } | changes
    channels, height, width = images.images.shape[1:]
    fusion = "vector" if -1 not in values["labels"] else "none"
    config = ModelConfig(
        classes=values["classes"],
        image_channels=channels,
        image_height=height,
        image_width=width,
        early_fusion=fusion,
        film="none",
    )
    plan = plan_samples(config, values["labels"])
    store = SampleStore.open(folder, plan, Origin("m", "0", values["data"]), format=values["format"])
    store.write(range(len(images)), images.images)
    store.finish()
    return folder


@pytest.mark.parametrize("format", ["png", "npz"])
def test_eval_of_samples(cli: Cli, run: Path, some: ImageSet, tmp_path: Path, format: str) -> None:
    folder = store_samples(tmp_path / "drawn", some, format=format)
    outcome = cli("eval", "--model", run, "--samples", folder, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert (document["dataset"], document["split"], document["n_images"]) == (str(folder), "samples", 16)
    assert document["classes"] == list(some.classes)
    assert document["data"]["image_size"] == 8
    expected = evaluate(load(run), some)
    assert expected.scores is not None
    assert document["accuracy"] == pytest.approx(expected.scores.accuracy)
    assert document["confusion"] == expected.scores.confusion.tolist()
    assert document["bpd"] == pytest.approx(expected.density.bpd)
    people = cli("eval", "--model", run, "--samples", folder)
    assert people.code == 0, people.err
    assert f"samples in {folder}" in people.out
    assert "accuracy" in people.out and "confusion" in people.out


def test_eval_of_an_archive_whose_labels_have_no_names(cli: Cli, run: Path, some: ImageSet, tmp_path: Path) -> None:
    pixels, labels = some.images.permute(0, 2, 3, 1).numpy(), some.labels.numpy()
    np.savez(tmp_path / "drawn.npz", pixels, labels=labels)
    outcome = cli("eval", "--model", run, "--samples", "drawn.npz", "--json")
    assert outcome.code == 0, outcome.err
    assert "by number" in outcome.err
    assert (outcome.document["dataset"], outcome.document["data"]) == ("drawn.npz", None)
    assert outcome.document["classes"] == list(some.classes)
    expected = evaluate(load(run), some).scores
    assert expected is not None
    assert outcome.document["accuracy"] == pytest.approx(expected.accuracy)
    assert cli("eval", "--model", run, "--samples", "drawn.npz").code == 0
    np.savez(tmp_path / "drawn.npz", pixels, labels=labels + 1)
    outcome = cli("eval", "--model", run, "--samples", "drawn.npz", "--json")
    assert outcome.code == 3
    assert "label 4, but the model has only 4 classes" in outcome.document["error"]


def test_eval_of_samples_that_do_not_suit(
    cli: Cli, run: Path, some: ImageSet, photographs: Path, tmp_path: Path
) -> None:
    store_samples(tmp_path / "renamed", some, classes=("hamburger", "panda", "koala", "sushi"))
    store_samples(tmp_path / "nameless", some, labels=(-1,) * 16)
    large = load_split(DataConfig(image_size=12, train_size=4), "train")
    store_samples(tmp_path / "large", large)
    for samples, code, messages in (
        ("renamed", 2, ("koala, pizza, but renamed has", "koala, sushi")),
        ("nameless", 3, ("nameless has images without a class",)),
        (photographs, 3, ("without a class",)),
        ("large", 3, ("12x12 RGB", "8x8 RGB")),
        ("absent", 3, ("there is no such folder",)),
    ):
        outcome = cli("eval", "--model", run, "--samples", samples, "--json")
        assert outcome.code == code, outcome.err
        assert all(message in outcome.document["error"] for message in messages), outcome.err


@pytest.mark.parametrize(
    "named",
    [["--split", "test"], ["--dataset", "embedded"], ["--data-dir", "x"], ["--no-skip-bad"], ["--download"]],
)
def test_eval_of_samples_takes_no_data_set(cli: Cli, run: Path, named: list[str]) -> None:
    outcome = cli("eval", "--model", run, "--samples", "absent", *named)
    assert outcome.code == 2
    assert "--samples takes the place of a data set" in outcome.err
    assert f"leave out {named[0].replace('no-', '')}" in outcome.err


def test_bpd(cli: Cli, home: Path, embedded: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    document = cli("bpd", "--json").document
    assert {"bpd", "bpd_marginal", "stderr", "n_images"} <= set(document)
    assert document["n_images"] == 60
    assert document["bpd"] == pytest.approx(embedded.density.bpd)
    assert document["bpd_marginal"] == pytest.approx(embedded.density.bpd_marginal)
    assert document["stderr"] == pytest.approx(embedded.density.stderr)


def test_bpd_for_people(cli: Cli, run: Path) -> None:
    outcome = cli("bpd", "--model", run / "last", "--split", "train", "--batch-size", 7)
    assert outcome.code == 0, outcome.err
    assert "embedded, train split" in outcome.out
    assert "bits/dim, class given" in outcome.out
    assert "standard error" in outcome.out


def test_raw_weights_are_others_than_the_average(cli: Cli, run: Path) -> None:
    arguments = ["bpd", "--model", run, "--split", "train", "--json"]
    average, raw = cli(*arguments), cli(*arguments, "--raw-weights")
    assert average.document["model"].endswith("ema.safetensors")
    assert raw.document["model"].endswith("model.safetensors")
    assert average.document["bpd"] != raw.document["bpd"]
    assert "EMA weights" in average.err
    assert "raw weights" in raw.err


@pytest.mark.parametrize("prior", ["training", "0.25,0.25,0.25,0.25", "1,1,1,1"])
def test_priors_that_are_all_uniform_here(cli: Cli, run: Path, prior: str) -> None:
    arguments = ["bpd", "--model", run, "--split", "train", "--json"]
    reference, other = cli(*arguments).document, cli(*arguments, "--prior", prior).document
    assert other["bpd_marginal"] == pytest.approx(reference["bpd_marginal"])


def test_a_prior_counts(cli: Cli, run: Path) -> None:
    outcome = cli("eval", "--model", run, "--split", "train", "--prior", "0,0,1,0", "--json")
    assert [sum(column) for column in zip(*outcome.document["confusion"], strict=True)] == [0, 0, 16, 0]


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("flat", "neither uniform, training, estimated nor numbers"),
        ("1,2", "2 numbers, but the model has 4 classes"),
        ("1,2,3,-1", "0 or more"),
        ("nan,1,1,1", "0 or more"),
        ("0,0,0,0", "positive sum"),
        ("", "--prior"),
    ],
)
def test_priors_that_cannot_be(cli: Cli, run: Path, prior: str, message: str) -> None:
    outcome = cli("bpd", "--model", run, "--split", "train", "--prior", prior)
    assert outcome.code == 2
    assert message in outcome.err


def test_other_classes_are_refused(cli: Cli, run: Path, photographs: Path) -> None:
    (photographs / "train" / "pizza").rename(photographs / "train" / "sushi")
    (photographs / "test" / "pizza").rename(photographs / "test" / "sushi")
    outcome = cli("eval", "--model", run, "-d", "folder", "-i", photographs)
    assert outcome.code == 2
    assert "sushi" in outcome.err
    assert "pizza" in outcome.err


def test_without_labels_eval_says_what_it_cannot_compute(cli: Cli, run: Path, course: Path) -> None:
    outcome = cli("eval", "--model", run, "-d", "cpen455", "-i", course, "--split", "test", "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert document["n_images"] == 4
    assert document["bpd_marginal"] > 0
    for name in ("accuracy", "accuracy_ci95", "f1_macro", "confusion", "bpd", "nll_posterior", "ece"):
        assert document[name] is None
    assert "no accuracy" in outcome.err
    auto = cli("eval", "--model", run, "-d", "cpen455", "-i", course, "--json")
    assert auto.document["split"] == "validation"
    assert auto.document["accuracy"] is not None
    assert "the test split of cpen455 has no labels" in auto.err


@pytest.fixture
def course(tmp_path: Path, pictures: Path) -> Path:
    """The course's layout: a labelled validation split, and a test split without labels."""
    names = ("hamburger", "panda", "koala", "pizza")
    files = [(path.relative_to(tmp_path), names.index(path.parent.name)) for path in sorted(pictures.rglob("*.png"))]
    for split, rows in (("train", files), ("validation", files[:4]), ("test", [(path, -1) for path, _ in files[4:]])):
        (tmp_path / f"{split}.csv").write_text("".join(f"{path},{label}\n" for path, label in rows))
    return tmp_path


@pytest.mark.parametrize("command", ["eval", "bpd"])
def test_a_model_that_overflows_gives_no_nan(cli: Cli, run: Path, tmp_path: Path, command: str) -> None:
    """Weights that are finite, but whose likelihoods are not: the document is still one, and JSON."""
    config, state = load_weights(run / "best" / "ema.safetensors")
    huge = {name: torch.full_like(tensor, 1e30) if name.endswith(".g") else tensor for name, tensor in state.items()}
    save_weights(tmp_path / "huge.safetensors", huge, config)
    outcome = cli(command, "--model", tmp_path / "huge.safetensors", "--split", "train", "--json")
    document = outcome.document
    assert (outcome.code == 5 and document["exit_code"] == 5) or (outcome.code == 0 and document["bpd"] is None)


@pytest.mark.parametrize("command", ["eval", "classify", "sample", "fid", "bpd"])
def test_errors_are_one_json_document_too(cli: Cli, command: str, pictures: Path) -> None:
    needed = {"classify": [pictures], "fid": ["--samples", pictures]}.get(command, [])
    outcome = cli(command, *needed, "--model", "absent", "--json")
    assert outcome.code == 4, outcome.err
    assert outcome.document["exit_code"] == 4
    assert "absent" in outcome.document["error"]
    assert "absent" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["eval", "--bogus"], 2),
        (["eval", "--split", "tset"], 2),
        (["eval", "--device", "cuda:9"], 2),
        (["bpd", "--batch-size", "0"], 2),
        (["classify"], 2),
        (["classify", "absent.png"], 3),
        (["sample", "--class", "sushi"], 2),
        (["sample", "--per-class", "0"], 2),
        (["fid", "--samples", "absent"], 3),
        (["eval", "--dataset", "folder"], 2),
        (["eval", "--dataset", "folder", "--data-dir", "absent"], 3),
        (["eval", "--dataset", "embeded"], 2),
    ],
)
def test_every_kind_of_mistake_has_its_code_and_a_document(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    monkeypatch.chdir(home)
    outcome = cli(*arguments, "--json")
    assert (outcome.code, outcome.document["exit_code"]) == (code, code)
    assert outcome.document["error"]
    assert outcome.err
    assert not (home / "out").exists()


def test_models_that_are_none(cli: Cli, run: Path, tmp_path: Path) -> None:
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html><html>not found</html>")
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "notes.txt").write_text("my model is great\n" * 50)
    (tmp_path / "folder").mkdir()
    for name in ("page.safetensors", "empty.safetensors", "notes.txt", "folder", "x" * 300, ""):
        outcome = cli("bpd", "--model", name)
        assert outcome.code == 4, outcome.err
        assert name in outcome.err


def test_unknown_devices_list_the_known_ones(cli: Cli, run: Path) -> None:
    outcome = cli("bpd", "--model", run, "--device", "tpu")
    assert outcome.code == 2
    assert "--device tpu" in outcome.err
    assert "auto, cpu" in outcome.err


def test_without_any_model(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "shipped_models", dict)
    outcome = cli("bpd")
    assert outcome.code == 4
    assert "train one, or pass --model" in outcome.err
    assert os.listdir() == []


def test_calibrating_stores_a_temperature_that_classify_uses(cli: Cli, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.safetensors"
    copy.write_bytes((run / "best" / "ema.safetensors").read_bytes())
    outcome = cli("eval", "--model", copy, "--calibrate", "test", "--json")
    assert outcome.code == 0, outcome.err
    calibration = outcome.document["calibration"]
    assert calibration["temperature"] > 0 and calibration["split"] == "test"
    assert calibration["nll_after"] <= calibration["nll_before"] + 0.05
    assert (tmp_path / "calibration.json").exists()
    table = cli("eval", "--model", copy, "--calibrate", "test").out
    assert "five-fold cross-validated" in table
    assert cli("eval", "--samples", "x", "--calibrate", "test").code == 2


def test_bpd_draws_where_the_bits_are_spent(cli: Cli, run: Path, photographs: Path) -> None:
    outcome = cli("bpd", "--model", run, "--dataset", "folder", "--data-dir", photographs, "--map", "bits.png")
    assert outcome.code == 0, outcome.err
    assert "written    bits.png" in outcome.err
    with Image.open("bits.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


def test_a_map_that_cannot_be_written_is_refused_before_the_work(cli: Cli, run: Path) -> None:
    outcome = cli("bpd", "--model", run, "--map", "nowhere/bits.png")
    assert outcome.code == 2
    assert "--map nowhere/bits.png cannot be written" in outcome.err
    assert "scoring" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--split", "tset"], 2, "--split tset is not known; did you mean 'test'?"),
        (["--dataset", "foldr"], 2, "--dataset foldr is not known; did you mean 'folder'?"),
        (["--data-dir", "nowhere"], 3, "nowhere does not exist; name the directory of the data set with --data-dir"),
    ],
)
@pytest.mark.parametrize("command", [["bpd"], ["eval"], ["fid", "--samples", "."]], ids=lambda command: command[0])
def test_names_are_looked_at_before_a_model_is(
    cli: Cli, command: list[str], arguments: list[str], code: int, said: str
) -> None:
    outcome = cli(*command, *arguments)
    assert (outcome.code, outcome.err) == (code, f"error: {said}\n")


def test_samples_are_looked_for_before_a_network_is_loaded(cli: Cli) -> None:
    said = "error: --samples nowhere: there is no such folder; make samples with: cpixelcnn sample --out FOLDER\n"
    outcome = cli("fid", "--samples", "nowhere")
    assert (outcome.code, outcome.err) == (3, said)
