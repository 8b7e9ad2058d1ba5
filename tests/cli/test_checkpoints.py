"""`cpixelcnn eval --all-checkpoints`: a run over its epochs."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from cpixelcnn.cli import checkpoints
from cpixelcnn.runs.kept_checkpoints import CheckpointScores, KeptCheckpoint, kept_checkpoints

Cli = Callable[..., Any]


def test_every_checkpoint_as_eval_scores_it(cli: Cli, run: Path, tmp_path: Path) -> None:
    arguments = ["--split", "train", "--json"]
    outcome = cli("eval", run, "--all-checkpoints", *arguments, "--csv", "epochs.csv", "--plots", "pictures")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    (found,) = document["checkpoints"]
    expected = cli("eval", run / "last", *arguments).document
    for name in ("accuracy", "f1_macro", "nll_posterior", "bpd", "bpd_marginal", "bpd_stderr", "n_images"):
        assert found[name] == expected[name]
    assert [found["accuracy_low"], found["accuracy_high"]] == expected["accuracy_ci95"]
    assert (found["epoch"], found["distance"], document["damaged"]) == (1, None, [])
    with open("epochs.csv", newline="") as file:
        assert [float(row["accuracy"]) for row in csv.DictReader(file)] == [found["accuracy"]]
    with Image.open("pictures/checkpoints.png") as picture:
        assert picture.size == (1200, 480)
    assert "--keep-checkpoints all" in outcome.err


def test_with_a_distance_for_people(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_distance_to", lambda *_: lambda model: ("FID", 12.5))
    outcome = cli("eval", run, "--all-checkpoints", "--split", "train", "--fid", "192")
    assert outcome.code == 0, outcome.err
    assert "embedded, train split, 16 images" in outcome.out
    for words in ("epoch", "accuracy, %", "FID", "12.5"):
        assert words in outcome.out


def test_the_table_fits_eighty_columns() -> None:
    scored = CheckpointScores(100, 45_500, 364_000, 519, 0.861, 0.829, 0.888, 0.86, 16.984, 3.2984, 3.2985, 0.0191)
    with_distance = dataclasses.replace(scored, distance=119.12, distance_name="efficientnet-lite0")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(checkpoints.scores_table("course: cpen455", [scored, with_distance]))
    lines = console.export_text().splitlines()
    assert any("82.9 to 88.8" in line and "3.2984 ± 0.0191" in line and "119.1" in line for line in lines)
    assert "efficientnet-lite0, which is not an FID" in lines[-1]


def test_a_run_whose_checkpoints_go_meanwhile(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = kept_checkpoints(run)[0]
    gone = KeptCheckpoint(run / "checkpoints" / "step-00000000" / "ema.safetensors", 0, 0, 0)
    monkeypatch.setattr("cpixelcnn.runs.kept_checkpoints.kept_checkpoints", lambda *_, **__: ([gone, *found], []))
    outcome = cli("eval", run, "--all-checkpoints", "--split", "train", "--json")
    assert outcome.code == 0, outcome.err
    assert [each["epoch"] for each in outcome.document["checkpoints"]] == [1]
    assert "step-00000000" in outcome.document["damaged"][0]
    assert "it is left out" in outcome.err

    monkeypatch.setattr("cpixelcnn.runs.kept_checkpoints.kept_checkpoints", lambda *_, **__: ([gone], []))
    outcome = cli("eval", run, "--all-checkpoints", "--split", "train")
    assert outcome.code == 4
    assert "could be scored" in outcome.err


def test_the_weights_of_inception_can_be_given(cli: Cli, run: Path) -> None:
    Path("x.pth").write_text("no weights")
    arguments = ["eval", run, "--all-checkpoints", "--split", "train", "--fid", "192"]
    outcome = cli(*arguments, "--weights", "x.pth")
    assert outcome.code == 3
    assert "x.pth" in outcome.err
    outcome = cli(*arguments)
    assert outcome.code == 3
    assert "pass it with --weights" in outcome.err
    assert "--dims" not in outcome.err


def test_what_is_scored_is_written_before_an_interruption(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(kept: list[KeptCheckpoint], *_: Any, **__: Any) -> Iterator[CheckpointScores]:
        yield CheckpointScores(1, 5, 80, 20, 0.5, 0.3, 0.7, 0.45, 1.25, 3.5, 3.51, 0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr("cpixelcnn.evaluation.checkpoints.score_checkpoints", interrupted)
    outcome = cli("eval", run, "--all-checkpoints", "--split", "train", "--csv", "epochs.csv")
    assert outcome.code == 130
    assert len(Path("epochs.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "x.csv"], "--csv: for --all-checkpoints only"),
        (["--all-checkpoints", "--calibrate", "test"], "--calibrate: for one model only"),
        (["--all-checkpoints", "--model", "tiny"], "for one run"),
        (["--all-checkpoints", "--fid", "best"], "neither auto nor"),
        (["--all-checkpoints", "--fid", "1280"], "neither auto nor"),
        (["--all-checkpoints", "--weights", "x.pth"], "--weights: for --fid only"),
        (["--weights", "x.pth"], "--weights: for --all-checkpoints only"),
        (["--all-checkpoints", "--csv", "absent/x.csv"], "--csv absent/x.csv cannot be written"),
        (["--all-checkpoints", "--plots", "/dev/null/x"], "--plots /dev/null/x cannot be made"),
    ],
)
def test_options_that_do_not_go_together(cli: Cli, run: Path, arguments: list[str], message: str) -> None:
    outcome = cli("eval", run, *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not Path("x.csv").exists()


def test_no_run(cli: Cli, run: Path) -> None:
    outcome = cli("eval", run / "best" / "ema.safetensors", "--all-checkpoints")
    assert outcome.code == 4
    assert "is no run directory" in outcome.err
