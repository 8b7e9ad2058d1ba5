"""The cards of the shipped models say what the files say, and the command in a card makes such a model."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from cpixelcnn.datasets import embedded
from cpixelcnn.model.weights import load_weights, read_card
from cpixelcnn.runs.models import load, shipped_models
from cpixelcnn.storage import file_digest

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "docs" / "models"
PRETRAINED = ROOT / "src" / "cpixelcnn" / "pretrained"
NAMES = sorted(shipped_models())
TINY = [
    "--nr-filters",
    "4",
    "--image-size",
    "8",
    "--epochs",
    "1",
    "--eval-interval",
    "1",
    "--eval-images",
    "8",
    "--device",
    "cpu",
    "--no-test",
]


def recipe(card: str) -> list[list[str]]:
    """The commands that made a model, from its card."""
    found = re.search(r"^<!-- train: [\w-]+ -->\n```text\n(.*?)^```$", card, re.M | re.S)
    assert found, "the card does not say how the model was made"
    return [shlex.split(line) for line in found[1].splitlines()]


@pytest.fixture(scope="module")
def ship_model() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ship_model", ROOT / "docs" / "ship_model.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_a_card_agrees_with_its_file(name: str) -> None:
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    path = PRETRAINED / f"{name}.safetensors"
    assert read_card(path) == card, f"run: python docs/ship_model.py {name}"
    metrics = json.loads((PRETRAINED / "models.json").read_text(encoding="utf-8"))[name]
    assert f"accuracy | **{100 * metrics['accuracy']:.1f} %**" in card
    assert f"bits/dim | **{metrics['bpd']:.3f}**" in card
    assert f"{metrics['n_images']:,} {metrics['split']} images" in card or f"{metrics['n_images']} images" in card
    assert f"{load(path).nr_parameters():,} parameters, {path.stat().st_size / 1e6:.1f} MB" in card
    stored = json.loads((PRETRAINED / "calibration.json").read_text(encoding="utf-8"))["calibrations"]
    if "after one temperature" in card:
        calibration = stored[file_digest(path)]
        assert f"**{calibration['nll_after']:.3f}** after one temperature of {calibration['temperature']:.2f}" in card


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_a_card_makes_such_a_model(
    name: str, cli: Callable[..., Any], ship_model: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small: one epoch of a few images with few filters, but for that as it stands; then shipped, and used."""
    shutil.copytree(PRETRAINED, tmp_path / "pretrained")
    monkeypatch.setattr(ship_model, "SHIPPED", tmp_path / "pretrained")
    monkeypatch.setattr(embedded, "VALIDATION_SIZE", 20)
    monkeypatch.setattr(embedded, "TEST_SIZE", 20)
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    few_photographs(tmp_path / "DATA")
    with contextlib.chdir(tmp_path):
        for program, *words in recipe(card):
            assert program == "cpixelcnn"
            small = ["--epochs", "2"] if "--resume" in words else TINY
            if "-d" not in words and "--resume" not in words:
                small = [*small, "--train-size", "16"]
            without_source = words  # a model to start from is larger than this one
            if "--init-from" in words:
                at = words.index("--init-from")
                without_source = words[:at] + words[at + 2 :]
            outcome = cli(*without_source, *small)
            assert outcome.code == 0, outcome.err
        ship_model.ship(f"runs/{name}/last", name)
        shipped = tmp_path / "pretrained" / f"{name}.safetensors"
        config, state = load_weights(shipped)
        assert {tensor.dtype for tensor in state.values()} == {torch.float16}
        assert config.data.data_dir is None and config.model.classes == ("hamburger", "panda", "koala", "pizza")
        outcome = cli("classify", "DATA/train", "--model", shipped, "--json")
        assert outcome.code == 0, outcome.err
        assert len(outcome.document["results"]) == 8


def few_photographs(folder: Path) -> None:
    """Eight training and four validation images in the layout of the course."""
    for split, count in (("train", 8), ("validation", 4)):
        (folder / split).mkdir(parents=True)
        lines = []
        for number in range(count):
            Image.new("RGB", (16, 16), (20 * number, 80, 160)).save(folder / split / f"{number}.png")
            lines.append(f"{split}/{number}.png,{number % 4}\n")
        (folder / f"{split}.csv").write_text("".join(lines))


def test_a_renewed_card_changes_no_weight_and_keeps_what_is_stored_for_the_file(
    ship_model: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PRETRAINED, tmp_path / "pretrained")
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "small.md").write_text("# Another card\n", encoding="utf-8")
    monkeypatch.setattr(ship_model, "SHIPPED", tmp_path / "pretrained")
    monkeypatch.setattr(ship_model, "CARDS", tmp_path / "cards")
    before = load_weights(PRETRAINED / "small.safetensors")
    evaluation = {"accuracy": 0.87654, "bpd": 3.21098, "n_images": 12, "split": "test", "confusion": []}
    (tmp_path / "eval.json").write_text(json.dumps(evaluation), encoding="utf-8")
    ship_model.renew("small", str(tmp_path / "eval.json"))
    path = tmp_path / "pretrained" / "small.safetensors"
    assert read_card(path) == "# Another card\n"
    config, state = load_weights(path)
    assert config == before[0]
    assert all(
        torch.equal(state[key], tensor) and state[key].dtype == tensor.dtype for key, tensor in before[1].items()
    )
    stored = json.loads((tmp_path / "pretrained" / "calibration.json").read_text(encoding="utf-8"))
    assert file_digest(path) in stored["calibrations"]
    metrics = json.loads((tmp_path / "pretrained" / "models.json").read_text(encoding="utf-8"))["small"]
    assert metrics == {**metrics, "accuracy": 0.877, "bpd": 3.211, "n_images": 12, "split": "test", "epochs": 56}
