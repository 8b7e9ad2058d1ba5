"""The commands as torchrun starts them: what one process writes and says, whatever their number."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import distributed_work
import pytest
import torch

from cpixelcnn.config import DataConfig, RunConfig
from cpixelcnn.datasets.drawings import CLASSES
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import save_weights
from cpixelcnn.runs.layout import checkpoint_paths, verify_checkpoint

Start = Callable[..., Any]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


@pytest.fixture
def weight_file(tmp_path: Path, photographs: Path) -> Path:
    """A model of the photographs, of random weights."""
    torch.manual_seed(0)
    model_config = dataclasses.replace(distributed_work.MODEL, classes=tuple(sorted(CLASSES)))
    data = DataConfig(dataset="folder", data_dir=str(photographs), image_size=8)
    model = PixelCNN(model_config)
    path = tmp_path / "model.safetensors"
    save_weights(path, model.state_dict(), RunConfig(model_config, data, distributed_work.OPTIONS))
    return path


@pytest.mark.parametrize("name", ["eval", "bpd", "classify"])
def test_figures_are_those_of_one_process(start: Start, weight_file: Path, photographs: Path, name: str) -> None:
    argv = [name, "--model", str(weight_file), "--batch-size", "3", "--device", "cpu", "--json"]
    if name == "classify":
        argv.insert(1, str(photographs / "test"))
    (alone,) = start(distributed_work.command, 1, argv=argv).members()
    leader, other = start(distributed_work.command, 2, argv=argv).members()
    assert [member.code for member in (alone, leader, other)] == [0, 0, 0], leader.err
    assert json.loads(leader.out) == json.loads(alone.out)
    assert other.out == other.err == ""


def test_pictures_and_the_page_are_written_by_one_process(
    start: Start, weight_file: Path, photographs: Path, tmp_path: Path
) -> None:
    found = []
    for count in (1, 2):
        out = tmp_path / f"of-{count}"
        out.mkdir()
        argv = ["eval", "--model", str(weight_file), "--batch-size", "3", "--device", "cpu", "--split", "test"]
        argv += ["--plots", str(out / "plots"), "--report", str(out / "page.html"), "--map", str(out / "map.png")]
        leader, *others = start(distributed_work.command, count, argv=argv).members()
        assert [member.code for member in (leader, *others)] == [0] * count, leader.err
        assert all(member.out == member.err == "" for member in others)
        written = [Path(line.split()[1]).relative_to(out) for line in leader.err.splitlines() if "written " in line]
        files = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
        assert len(written) == len(set(written))
        assert files == {*written, Path("plots/pictures.json")}
        found.append({path: (out / path).read_bytes() for path in files if path.suffix == ".png"})
    assert found[0] == found[1]


@pytest.mark.slow
def test_explanations_are_those_of_one_process(
    start: Start, weight_file: Path, photographs: Path, tmp_path: Path
) -> None:
    found = []
    for count in (1, 2):
        out = tmp_path / f"of-{count}"
        argv = ["classify", "--model", str(weight_file), "--batch-size", "3", "--device", "cpu"]
        argv += ["--explain", str(out), str(photographs / "test")]
        members = start(distributed_work.command, count, argv=argv).members()
        assert [member.code for member in members] == [0] * count, members[0].err
        assert len([line for line in members[0].err.splitlines() if line.startswith("explained")]) == 1
        found.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert found[0] == found[1]
    assert len(found[0]) == len(list((photographs / "test").rglob("*.png"))) + 1


def test_a_picture_that_cannot_be_written_ends_all(
    start: Start, weight_file: Path, photographs: Path, tmp_path: Path
) -> None:
    argv = ["classify", "--model", str(weight_file), "--batch-size", "3", "--device", "cpu"]
    argv += ["--explain", str(tmp_path / "why"), str(photographs / "test")]
    trouble = {0: {"trouble": distributed_work.no_room_for_pictures}}
    leader, other = start(distributed_work.command, 2, each=trouble, argv=argv).members()
    assert [leader.code, other.code] == [2, 2]
    assert [line for line in leader.err.splitlines() if "error: " in line and "No space left" in line]
    assert other.out == other.err == ""


def test_unfamiliar_images_are_told_as_by_one_process(start: Start, weight_file: Path) -> None:
    argv = ["eval", "--model", str(weight_file), "--batch-size", "3", "--device", "cpu", "--json"]
    argv += ["--unfamiliar", "noise", "--max-images", "8"]
    few = distributed_work.few_resamples
    (alone,) = start(distributed_work.command, 1, argv=argv, trouble=few).members()
    leader, other = start(distributed_work.command, 2, argv=argv, trouble=few).members()
    assert [member.code for member in (alone, leader, other)] == [0, 0, 0], leader.err
    assert json.loads(leader.out) == json.loads(alone.out)
    assert other.out == other.err == ""


def test_samples_are_those_of_one_process(start: Start, weight_file: Path, tmp_path: Path) -> None:
    """Batches of the same shape, so not even the rounding differs."""
    found = []
    for count in (1, 2):
        out = tmp_path / f"samples-{count}"
        argv = ["sample", "--model", str(weight_file), "-k", "1", "-b", "2", "--device", "cpu", "--out", str(out)]
        members = start(distributed_work.command, count, argv=argv).members()
        assert [member.code for member in members] == [0] * count, members[0].err
        found.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len([name for name in found[0] if name.endswith(".png")]) == 5  # four classes and the grid
    assert found[0] == found[1]
    argv += ["--seed", "1"]  # other images than those that are there
    members = start(distributed_work.command, 2, argv=argv).members()
    assert [member.code for member in members] == [2, 2], [member.err for member in members]
    assert "error: " in members[0].err
    assert members[1].err == ""


def test_torchrun(train_argv: list[str], tmp_path: Path) -> None:
    """The real launcher: the same figures as one process, and a SIGTERM to it leaves one good checkpoint."""
    run = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # A launcher that is killed leaves its processes behind, which must come to an end.
    command = [*TORCHRUN, "2", "-m", "cpixelcnn", *train_argv, "--epochs", "10000", "--max-minutes", "3"]
    launcher = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 90
        while not (run / "last" / "manifest.json").exists():
            assert launcher.poll() is None, launcher.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        launcher.send_signal(signal.SIGTERM)
        _, err = launcher.communicate(timeout=60)
    finally:
        launcher.kill()
        launcher.communicate()
    assert "batch      4 images, 2 for each of 2 processes" in err
    assert err.count("stopped after") == err.count("resume with: cpixelcnn train --resume") == 1, err
    assert verify_checkpoint((run / "last").resolve())["step"] == verify_checkpoint(checkpoint_paths(run)[-1])["step"]
    assert first_epoch(run) == pytest.approx(one_process(train_argv, tmp_path), rel=1e-5)
    assert len(json.loads((run / "environment.json").read_text())) == 1


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_torchrun_on_gpus(train_argv: list[str], tmp_path: Path) -> None:
    """Over NCCL: the figures of one process on a CPU, to the rounding of another machine."""
    argv = [*train_argv, "--device", "cuda", "--epochs", "1"]
    command = [*TORCHRUN, "2", "-m", "cpixelcnn", *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert first_epoch(tmp_path / "run") == pytest.approx(one_process(train_argv, tmp_path), rel=1e-3)


def first_epoch(run: Path) -> list[float]:
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert row["epoch"] == 1
    return [row["train_bpd"], row["grad_norm"], row["validation_bpd"]]


def one_process(train_argv: list[str], tmp_path: Path) -> list[float]:
    """The same figures of a training by this process alone."""
    with pytest.raises(SystemExit) as ended:
        distributed_work.command([*train_argv, "--out", str(tmp_path / "alone"), "--epochs", "1"])
    assert ended.value.code == 0
    return first_epoch(tmp_path / "alone")
