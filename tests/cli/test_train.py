"""`cpixelcnn train`: the configuration it resolves to, the run it makes, and what it says."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cpixelcnn.config import RunConfig, TrainConfig
from cpixelcnn.presets import PRESETS
from cpixelcnn.training import estimate, loop
from cpixelcnn.training import train as train_module

Cli = Callable[..., Any]
DECIDED_BY_IMAGES = {"classes", "class_counts", "image_channels", "image_height", "image_width"}


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps of the largest presets take minutes."""
    monkeypatch.setattr(estimate, "estimate", lambda *_: estimate.Estimate(1, 1.0, 1.0, None))


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_dry_run_prints_the_configuration_of_every_preset(cli: Cli, tmp_path: Path, preset: str) -> None:
    outcome = cli("train", "--preset", preset, "--train-size", 4, "--dry-run")
    assert outcome.code == 0
    document = outcome.document
    expected = PRESETS[preset]
    assert {name: document["model"][name] for name in expected.model} == dict(expected.model)
    assert {name: document["train"][name] for name in expected.train} == dict(expected.train)
    assert not DECIDED_BY_IMAGES & set(document["model"])
    assert document["run"] == f"runs/embedded-{preset}-1"
    assert document["resume"] is None
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("unmeasured")
def test_explicit_flags_win_over_the_preset(cli: Cli, photographs: Path) -> None:
    arguments = ["-n", 7, "--dropout", 0.25, "-x", 3, "--no-horizontal-flip", "-d", "folder", "-i", photographs]
    document = cli("train", *arguments, "--preset", "small", "--dry-run", "--out", "my [run]").document
    assert (document["model"]["nr_filters"], document["model"]["dropout"], document["train"]["epochs"]) == (7, 0.25, 3)
    assert document["train"]["horizontal_flip"] is False
    assert (document["data"]["dataset"], document["data"]["data_dir"]) == ("folder", str(photographs))
    assert document["model"]["early_fusion"] == "template"  # the preset's
    assert document["run"] == "my [run]"


@pytest.mark.usefixtures("unmeasured")
def test_crops_are_trained_on_beside_their_photographs(cli: Cli, photographs: Path) -> None:
    arguments = ["train", "-d", "folder", "-i", photographs, "--image-size", 8, "--crops", 2, "--dry-run"]
    too_small = cli(*arguments)
    assert too_small.code == 3
    assert "have too few pixels for crops of 8x8; choose a smaller --image-size, or leave out --crops" in too_small.err
    for path in photographs.rglob("*.png"):
        Image.open(path).resize((20, 20)).save(path)
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert outcome.document["data"]["crops"] == 2
    assert outcome.document["images"] == {"train": 36, "validation": 8, "test": 8}
    drawn = cli("train", "--crops", 1, "--dry-run")
    assert drawn.code == 3
    assert "the images of embedded have no files" in drawn.err


@pytest.mark.usefixtures("unmeasured")
def test_every_field_of_the_training_has_its_option(cli: Cli) -> None:
    given = {
        "schedule": "cosine",
        "lr_final": 0.1,
        "warmup_steps": 5,
        "weight_decay": 0.2,
        "accumulate": 2,
        "shift": 3,
        "balanced": True,
        "discriminative_weight": 0.01,
        "discriminative_classes": 2,
        "discriminative_share": 0.5,
        "discriminative_temperature": 8.0,
        "patience": 4,
        "max_minutes": 1.5,
    }
    arguments: list[object] = []
    for name, value in given.items():
        arguments += ["--" + name.replace("_", "-"), *([] if value is True else [value])]
    document = cli("train", *arguments, "--train-size", 4, "--dry-run").document
    assert {name: document["train"][name] for name in given} == given
    assert set(document["train"]) == {field.name for field in fields(TrainConfig)}


def test_the_first_command_of_all(home: Path, run: Path) -> None:
    out, err = (home / "stdout.txt").read_text(), (home / "stderr.txt").read_text()
    assert "epoch 1/1" in out
    assert "accuracy" in out
    assert "on 60 test images" in out
    assert "parameters" in err
    assert "16 for training, 20 for validation" in err
    assert "cpixelcnn sample --model runs/embedded-tiny-1" in err
    config = RunConfig.from_json(json.loads((run / "config.json").read_text()))
    assert config.model.classes == ("hamburger", "panda", "koala", "pizza")
    assert config.model.class_counts == (4, 4, 4, 4)
    assert (config.model.nr_filters, config.model.nr_logistic_mix, config.train.seed) == (4, 2, 0)
    assert (run / "samples" / "epoch-0001.png").is_file()


def test_a_finished_run_says_so_and_goes_on_if_asked(cli: Cli, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "runs" / "mine", symlinks=True)
    before = (copy / "metrics.jsonl").read_bytes()
    outcome = cli("train", "--resume", "auto")
    assert outcome.code == 0
    assert "runs/mine is finished (1 epoch)" in outcome.err
    assert "--epochs" in outcome.err
    assert (copy / "metrics.jsonl").read_bytes() == before
    outcome = cli("train", "--resume", "auto", "--epochs", 2)
    assert outcome.code == 0, outcome.err
    assert "resumed    after 1 epoch, 16 images" in outcome.err
    assert "epoch 2/2" in outcome.out
    assert [json.loads(line)["epoch"] for line in (copy / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert (copy / "samples" / "epoch-0002.png").is_file()


def test_a_limit_on_the_time_pauses_and_says_how_to_go_on(cli: Cli) -> None:
    sizes = ["--nr-filters", 4, "--nr-logistic-mix", 2, "--image-size", 8, "--train-size", 16, "--eval-images", 8]
    outcome = cli("train", *sizes, "-x", 1, "-b", 8, "-o", "my run", "--max-minutes", 1e-9)
    assert outcome.code == 0, outcome.err
    assert outcome.out == ""  # no result yet
    assert "paused after 1e-09 minutes, after 8 images; resume with: cpixelcnn train --resume 'my run'" in outcome.err
    outcome = cli("train", "--resume", "my run")
    assert outcome.code == 0, outcome.err
    assert "resumed    after 0 epochs, 8 images" in outcome.err
    assert "accuracy" in outcome.out


def test_patience_and_what_a_finished_run_says(
    cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy", symlinks=True)
    monkeypatch.setattr(loop, "is_better", lambda *_: False)
    outcome = cli("train", "--resume", copy, "-x", 5, "--patience", 2)
    assert outcome.code == 0, outcome.err
    assert "stopped early: the last 2 validations brought no new best" in outcome.err
    assert "epoch 3/5" in outcome.out
    assert "epoch 4/5" not in outcome.out
    outcome = cli("train", "--resume", copy, "-x", 9)
    assert outcome.code == 0
    assert "has stopped early (2 validations without a new best); pass a larger --patience, or 0" in outcome.err


@pytest.mark.usefixtures("unmeasured")
def test_a_run_from_the_weights_of_another(cli: Cli, run: Path) -> None:
    arguments = ["train", "--init-from", run, "--train-size", 16, "-x", 1, "--eval-images", 8, "-o", "finer"]
    document = cli(*arguments, "--dry-run").document
    assert document["model"]["nr_filters"] == 4
    assert document["data"]["image_size"] == 8
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    outcome = cli(*arguments[:-1], "other", "--nr-filters", 3)
    assert outcome.code == 2
    assert f"--nr-filters 3 is less than the 4 of --init-from {run}" in outcome.err
    wider = cli(*arguments[:-1], "wider", "--nr-filters", 5, "--dry-run")
    assert wider.document["model"]["nr_filters"] == 5


def test_a_run_is_not_overwritten(cli: Cli, run: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    before = tree(run)
    outcome = cli("train", "--out", run)
    assert outcome.code == 2
    assert "already holds a run" in outcome.err
    assert "--resume" in outcome.err
    assert tree(run) == before


def test_contradictions_are_refused(cli: Cli, run: Path) -> None:
    outcome = cli("train", "--resume", run, "--nr-filters", 5)
    assert outcome.code == 2
    assert "--nr-filters 5 contradicts the checkpoint, which has 4" in outcome.err


def test_images_of_other_classes_are_refused(cli: Cli, photographs: Path, tmp_path: Path) -> None:
    arguments = ["train", "-d", "folder", "-i", photographs, "-n", 4, "-m", 2, "--image-size", 8, "-x", 1, "-o", "r"]
    assert cli(*arguments).code == 0
    other = photographs.rename(tmp_path / "other")
    for split in ("train", "validation", "test"):
        (other / split / "pizza").rename(other / split / "sushi")
    outcome = cli("train", "--resume", "r", "-x", 2, "--data-dir", other)
    assert outcome.code == 2
    assert "hamburger, koala, panda, pizza" in outcome.err or "hamburger, panda, koala, pizza" in outcome.err
    assert "sushi" in outcome.err


def test_nothing_to_resume(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("train", "--resume", "absent")
    assert outcome.code == 4
    assert "--resume absent" in outcome.err


def test_a_mistyped_data_set_makes_no_directory(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "--dataset", "cifar").code == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "folder"], "--data-dir"),
        (["--dataset", "folder", "--data-dir", "absent"], "absent does not exist"),
        (["--dataset", "cpen455", "--data-dir", "."], "train.csv"),
        (["--dataset", "cifar10", "--data-dir", "."], "--download"),
    ],
)
def test_data_that_is_not_there(cli: Cli, tmp_path: Path, arguments: list[str], message: str) -> None:
    outcome = cli("train", *arguments)
    assert outcome.code == (2 if arguments[-1] == "folder" else 3)
    assert message in outcome.err
    assert os.listdir(tmp_path) == []


def test_a_folder_of_ones_own(cli: Cli, photographs: Path) -> None:
    sizes = ["--nr-filters", 4, "--nr-logistic-mix", 2, "--image-size", 8]
    outcome = cli("train", "-d", "folder", "-i", photographs, *sizes, "-x", 1, "-o", "r", "-b", 5)
    assert outcome.code == 0, outcome.err
    assert "12 for training, 8 for validation" in outcome.err
    assert "on 8 test images" in outcome.out


def test_bad_images_stop_the_training_before_it_starts(cli: Cli, photographs: Path) -> None:
    (photographs / "train" / "panda" / "x.png").write_text("not an image")
    (photographs / "train" / "koala" / "y.png").touch()
    arguments = ["train", "-d", "folder", "-i", photographs, "-n", 4, "-m", 2, "--image-size", 8, "-x", 1, "-o", "r"]
    outcome = cli(*arguments)
    assert outcome.code == 3
    assert "x.png" in outcome.err
    assert "y.png" in outcome.err
    assert "--skip-bad" in outcome.err
    assert not Path("r").exists()
    outcome = cli(*arguments, "--skip-bad")
    assert outcome.code == 0, outcome.err
    assert "left out 2 images that cannot be read" in outcome.err


def test_running_out_of_memory_is_one_line_of_advice(
    cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy", symlinks=True)

    def starve(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1099511627776 bytes.\nmore")

    monkeypatch.setattr(loop.Training, "_step", starve)
    outcome = cli("train", "--resume", copy, "--epochs", 2)
    assert outcome.code == 1
    assert "--batch-size" in outcome.err.splitlines()[-1]
    assert "1099511627776" not in outcome.err
    assert tree(copy / "checkpoints") == tree(run / "checkpoints")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 400 bytes. Error code 12 (Cannot allocate memory)"
        ),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory: you tried to"),
        OSError(12, "Cannot allocate memory"),
        ImportError("/usr/lib/x.so: failed to map segment from shared object"),
        SystemError("error return without exception set"),
    ],
)
def test_every_lack_of_memory_gets_the_advice(cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def starve(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(train_module, "train", starve)
    outcome = cli("train", "--image-size", 8, "--train-size", 4)
    assert outcome.code == 1
    assert "out of memory; pass a smaller --batch-size" in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_are_no_internal_error(cli: Cli, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def open_another(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr(train_module, "train", open_another)
    outcome = cli("train", "--image-size", 8, "--train-size", 4)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("error: some/file could not be opened (Too many open files")
    assert "ulimit -n" in outcome.err.splitlines()[-1]


def test_an_internal_error_is_one_line_that_says_how_to_see_more(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr(train_module, "train", broken)
    arguments = ["train", "--image-size", 8, "--train-size", 4, "-o", "r"]
    outcome = cli(*arguments)
    assert outcome.code == 1
    last = outcome.err.splitlines()[-1]
    assert "ZeroDivisionError: first line" in last
    assert "pass --verbose for the traceback" in last
    assert "second" not in outcome.err
    monkeypatch.setenv("CPIXELCNN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli(*arguments)


def test_what_people_see_beside_the_checkpoints(run: Path) -> None:
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    (call,) = json.loads((run / "environment.json").read_text())
    assert call["command"][:3] == ["cpixelcnn", "train", "--nr-filters"]
    assert not (run / "tensorboard").exists()
    assert not (run / "wandb").exists()


@pytest.mark.parametrize("option", ["tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setitem(sys.modules, option, None)
    outcome = cli("train", f"--{option}")
    assert outcome.code == 2
    assert f"pip install 'cpixelcnn[{option}]'" in outcome.err
    assert os.listdir(tmp_path) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*")
def test_tensorboard_beside_the_display(optional_module: Callable[[str], Any], cli: Cli, photographs: Path) -> None:
    optional_module("tensorboard")
    arguments = ["-d", "folder", "-i", photographs, "-n", 4, "-m", 2, "--image-size", 8, "-x", 1, "-o", "r"]
    outcome = cli("train", *arguments, "--tensorboard")
    assert outcome.code == 0, outcome.err
    assert "epoch 1/1" in outcome.out
    assert len(list(Path("r/tensorboard").glob("events.*"))) == 1


def test_what_a_run_found_is_kept(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    assert results["finished"] is True
    assert results["best_epoch"] == 1
    assert 0 <= results["validation"]["accuracy"] <= 1
    assert results["test"]["n_images"] == 60
    assert results["test"]["bpd"] > 0


def test_the_summary_names_the_files(home: Path) -> None:
    said = (home / "stdout.txt").read_text()
    assert all(name in said for name in ("best checkpoint: epoch 1", "curves.png", "metrics.csv", "results.json"))


def test_without_the_test_split_and_as_a_document(cli: Cli, photographs: Path) -> None:
    (photographs / "test" / "panda" / "broken.png").write_bytes(b"")
    arguments = ["-d", "folder", "-i", photographs, "-n", 4, "-m", 2, "-x", 1, "-o", "run"]
    outcome = cli("train", *arguments)
    assert outcome.code == 3, "a bad file of the test split is found before the training"
    assert not Path("run").exists()
    outcome = cli("train", *arguments, "--no-test", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["run"] == "run"
    assert outcome.document["test"] is None
    assert "epoch 1/1" in outcome.err
    assert cli("train", "--resume", "run", "--json").document["best_epoch"] == 1


def test_resume_without_a_value_means_auto(cli: Cli, photographs: Path, tmp_path: Path) -> None:
    arguments = ["train", "-d", "folder", "-i", photographs, "-n", 4, "-m", 2, "-x", 1, "--no-test"]
    assert cli(*arguments, "--resume", "-o", "runs/first").code == 0
    outcome = cli("train", "--resume")
    assert "runs/first is finished (1 epoch); pass a larger --epochs to go on" in outcome.err
    outcome = cli("train", "--resume", "first", "-x", 2, "--no-test")
    assert outcome.code == 0, outcome.err
    outcome = cli("train", "--resume", "frist")
    assert outcome.code == 4
    assert "did you mean 'first'?" in outcome.err
    outcome = cli("train", "--resume", "first", "--preset", "small")
    assert outcome.code == 2
    changes = "--nr-filters from 4 to 40, --nr-logistic-mix from 2 to 5, --early-fusion from vector to template"
    assert f"error: --preset small would change {changes}, which a resumed run keeps; leave the preset" in outcome.err
    outcome = cli("train", "--resume", "first", "--preset", "wide", "-n", 4, "-m", 2)  # what is given wins over it
    assert "--preset wide would change --ema-decay from 0.995 to 0.999, which" in outcome.err
    photographs.rename(tmp_path / "moved")
    outcome = cli("train", "--resume", "first", "-x", 3)
    assert outcome.code == 3
    assert f"not in {photographs} any more; pass their place with --data-dir" in outcome.err


def test_a_dry_run_can_be_fed_back(cli: Cli, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photographs.parent)
    arguments = ["-d", "folder", "-i", "photographs", "-n", 5, "-m", 2, "--lr", 0.005, "--dry-run"]
    outcome = cli("train", *arguments)
    assert outcome.code == 0, outcome.err
    first = outcome.document
    assert first["images"] == {"train": 12, "validation": 8, "test": 8}
    assert first["estimate"]["nr_parameters"] > 1000
    assert first["estimate"]["seconds_per_epoch"] >= first["estimate"]["seconds_per_step"] > 0
    assert first["data"]["data_dir"] == str(photographs)
    Path("settings.json").write_text(json.dumps(first))
    again = cli("train", "--config", "settings.json", "-x", 2, "--dry-run").document
    assert again["model"] == first["model"]
    assert again["train"] == {**first["train"], "epochs": 2}
    Path("settings.toml").write_text("[model]\nnr_filters = 5\n")
    assert cli("train", "--config", "settings.toml", *arguments[:4], "--dry-run").document["model"]["nr_filters"] == 5
    Path("settings.json").write_text('{"model": {"nr_filter": 5}}')
    assert cli("train", "--config", "settings.json").code == 2
    outcome = cli("train", "-d", "folder", "-i", "nowhere", "--dry-run")
    assert outcome.code == 3


def test_a_working_directory_that_was_removed(cli: Cli, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "lost").mkdir()
    with contextlib.chdir(tmp_path / "lost"):
        (tmp_path / "lost").rmdir()
        outcome = cli("train", "-d", "folder", "-i", "photographs", "--out", "run")
    assert (outcome.code, outcome.err) == (2, "error: the working directory has been removed; change to another one\n")
