"""`cpixelcnn eval` of several models, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.model.weights import load_weights, save_weights

Cli = Callable[..., Any]


@pytest.fixture
def renamed(run: Path, tmp_path: Path) -> Path:
    """The model of the run, with a class of another name."""
    config, state = load_weights(run / "best" / "ema.safetensors")
    model = dataclasses.replace(config.model, classes=("hamburger", "panda", "koala", "sushi"))
    save_weights(tmp_path / "renamed.safetensors", state, dataclasses.replace(config, model=model))
    return tmp_path / "renamed.safetensors"


def test_models_side_by_side(cli: Cli, run: Path) -> None:
    raw = run / "best" / "model.safetensors"
    outcome = cli("eval", "--model", run, "--model", raw, "--split", "validation", "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    alone = [cli("eval", "--model", model, "--split", "validation", "--json").document for model in (run, raw)]
    assert [each["model"] for each in document["models"]] == [each["model"] for each in alone]
    for each, expected in zip(document["models"], alone, strict=True):
        assert {name: expected[name] for name in each} == each
    (pair,) = document["pairs"]
    assert pair["models"] == [0, 1]
    hits = [round(each["accuracy"] * document["n_images"]) for each in alone]
    assert pair["only_first_right"] - pair["only_second_right"] == hits[0] - hits[1]
    assert pair["n_different"] >= pair["only_first_right"] + pair["only_second_right"]
    assert 0 <= pair["p_value"] <= 1
    assert pair["bpd_difference"] == pytest.approx(alone[1]["bpd_marginal"] - alone[0]["bpd_marginal"])
    assert (document["dataset"], document["split"]) == ("embedded", "validation")


def test_for_people_and_by_position(cli: Cli, run: Path) -> None:
    outcome = cli("eval", run, run / "last", run / "best" / "model.safetensors", "--split", "train")
    assert outcome.code == 0, outcome.err
    assert "embedded, train split, 16 images" in outcome.out
    for words in ("accuracy, %", "McNemar's p", "only first right", "1, 2", "1, 3", "2, 3"):
        assert words in outcome.out


def test_models_of_other_classes_are_refused(cli: Cli, run: Path, renamed: Path) -> None:
    outcome = cli("eval", run, renamed, "--split", "train", "--json")
    assert outcome.code == 2
    assert "different classes" in outcome.document["error"]
    assert "sushi" in outcome.document["error"]


def test_options_for_one_model(cli: Cli, run: Path) -> None:
    outcome = cli("eval", run, run, "--calibrate", "validation", "--save-log-likelihoods", "x.npz")
    assert outcome.code == 2
    assert "--calibrate, --save-log-likelihoods: for one model only" in outcome.err
