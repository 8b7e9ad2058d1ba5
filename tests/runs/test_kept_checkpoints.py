"""The checkpoints that a run has kept: oldest first, damaged ones named, and their scores as a table."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cpixelcnn.config import ModelConfig, RunConfig
from cpixelcnn.errors import CheckpointError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import save_weights
from cpixelcnn.runs.kept_checkpoints import CheckpointScores, find_run, kept_checkpoints, write_checkpoint_scores
from cpixelcnn.storage import file_digest, write_json


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with the checkpoints of epochs 1, 2 and 10."""
    config = ModelConfig(classes=("ant", "bee"), nr_filters=4, nr_logistic_mix=1, image_height=4, image_width=4)
    state = PixelCNN(config).state_dict()
    for epoch in (10, 1, 2):
        folder = tmp_path / "runs" / "first" / "checkpoints" / f"step-{5 * epoch:08d}"
        folder.mkdir(parents=True)
        for name in ("model.safetensors", "ema.safetensors"):
            save_weights(folder / name, state, RunConfig(config))
        for name in ("trainer.pt", "config.json"):
            (folder / name).write_text("unused here")
        files = {path.name: file_digest(path) for path in folder.iterdir()}
        facts = {"step": 5 * epoch, "epoch": epoch, "images_seen": 80 * epoch}
        write_json(folder / "manifest.json", {"manifest_version": 1, "files": files} | facts)
    return tmp_path / "runs" / "first"


def test_oldest_first(run: Path) -> None:
    kept, damaged = kept_checkpoints(run)
    assert [(each.epoch, each.step, each.images_seen) for each in kept] == [(1, 5, 80), (2, 10, 160), (10, 50, 800)]
    assert {each.weights.name for each in kept} == {"ema.safetensors"}
    assert damaged == []
    assert {each.weights.name for each in kept_checkpoints(run, ema=False)[0]} == {"model.safetensors"}


def test_a_damaged_one_is_named_and_the_others_are_there(run: Path) -> None:
    weights = run / "checkpoints" / "step-00000010" / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    kept, damaged = kept_checkpoints(run)
    assert [each.epoch for each in kept] == [1, 10]
    assert len(damaged) == 1
    assert "step-00000010" in damaged[0]


def test_no_usable_one_is_an_error(run: Path) -> None:
    for manifest in run.glob("checkpoints/*/manifest.json"):
        manifest.write_text("{}")
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        kept_checkpoints(run)


def test_runs_are_found_by_path_and_by_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent.parent)
    assert find_run(run) == run
    assert find_run("first") == Path("runs/first")
    with pytest.raises(CheckpointError, match="second is no run directory"):
        find_run("second")


def test_the_table(tmp_path: Path) -> None:
    full = CheckpointScores(1, 5, 80, 20, 0.5, 0.3, 0.7, 0.45, 1.25, 3.5, 3.51, 0.02, 30.5, "FID")
    bare = CheckpointScores(2, 10, 160, 20, None, None, None, None, None, None, 3.25, 0.02)
    write_checkpoint_scores(tmp_path / "x.csv", [full, bare])
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [1, 2]
    assert (rows[0]["accuracy"], rows[0]["distance_name"]) == ("0.5", "FID")
    assert (rows[1]["accuracy"], rows[1]["distance"], rows[1]["bpd_marginal"]) == ("", "", "3.25")
