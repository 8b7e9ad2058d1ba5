"""`cpixelcnn models`: what there is to choose from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


def test_right_after_installation(cli: Cli) -> None:
    outcome = cli("models")
    assert outcome.code == 0
    assert "small" in outcome.out and "tiny" in outcome.out
    assert "There are no runs under runs/ yet" in outcome.err


def test_runs_and_broken_runs(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(home / "runs", "runs", symlinks=True)
    shutil.copytree(home / "runs" / "embedded-tiny-1", "runs/broken", symlinks=True)
    shutil.rmtree("runs/broken/checkpoints")
    Path("runs/broken/checkpoints").mkdir()
    monkeypatch.setenv("COLUMNS", "80")
    outcome = cli("models")
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    (row,) = (line for line in outcome.out.splitlines() if "embedded-tiny-1" in line)
    assert row.rstrip().endswith(" embedded") and " %" in row
    assert "warning: broken cannot be used: runs/broken holds no usable checkpoint" in outcome.err
    entries = {entry["name"]: entry for entry in cli("models", "--json").document["models"]}
    assert set(entries) == {"medium", "medium-crops", "small", "small-crops", "tiny", "embedded-tiny-1", "broken"}
    assert (entries["embedded-tiny-1"]["split"], entries["embedded-tiny-1"]["n_images"]) == ("test", 60)
    assert entries["broken"]["problem"]


def test_another_folder(cli: Cli, home: Path) -> None:
    names = [entry["name"] for entry in cli("models", home / "runs", "--json").document["models"]]
    assert "embedded-tiny-1" in names
    outcome = cli("models", "absent")
    assert (outcome.code, "absent is no folder of runs" in outcome.err) == (4, True)


def test_the_card_of_a_model(cli: Cli, home: Path) -> None:
    outcome = cli("models", "--card", "small")
    assert outcome.code == 0
    assert "Model card: small" in outcome.out and "cpen455" in outcome.out
    assert cli("models", "--card", "small", "--json").document["card"].startswith("# Model card: small\n")
    outcome = cli("models", "--card", home / "runs" / "embedded-tiny-1")
    assert (outcome.code, "has no card; shipped models have one" in outcome.err) == (4, True)
