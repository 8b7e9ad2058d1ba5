"""Runs, checkpoints and weight files that somebody forged: every command ends as documented, and nothing sound is lost.

Unlike the fuzz test, these cases know what they do: the digests are right, the links lead somewhere, the numbers mean
something. ``pytest -m slow tests/reliability/test_attack_runs.py`` runs them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cpixelcnn.errors import CpixelcnnError
from cpixelcnn.model.weights import CONFIG
from cpixelcnn.runs.layout import FILES, MANIFEST, read_results
from cpixelcnn.runs.metrics_log import MetricsLog
from cpixelcnn.storage import file_digest
from cpixelcnn.training.plan import Request, make_plan
from cpixelcnn.training.restoring import read_training

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1-run.tar.gz"
OLDER, NEWEST = Path("run/checkpoints/step-00000005"), Path("run/checkpoints/step-00000010")
WEIGHTS = NEWEST / "ema.safetensors"
Change = Callable[[], object]


@pytest.fixture(autouse=True)
def run(alone: None) -> None:
    """A run of two checkpoints, `NEWEST` the best and last, and an image, in the working directory."""
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(".", filter="data")
    shutil.copytree(NEWEST, OLDER)
    manifest = json.loads((OLDER / MANIFEST).read_text())
    (OLDER / MANIFEST).write_text(json.dumps({**manifest, "step": 5, "epoch": 1, "images_seen": 40, "finished": False}))
    Image.new("RGB", (8, 8), "red").save("image.png")


def renew(checkpoint: Path = NEWEST) -> None:
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    manifest["files"] = {name: file_digest(checkpoint / name) for name in FILES}
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))


def manifest(**changes: Any) -> Change:
    def change() -> None:
        document = json.loads((NEWEST / MANIFEST).read_text())
        (NEWEST / MANIFEST).write_text(json.dumps({**document, **changes}))

    return change


def weights(change_config: Callable[[dict[str, Any]], object] = lambda _: None, **tensors: Any) -> Change:
    """Both weight files with a changed configuration and other tensors, and with their digests."""

    def change() -> None:
        for name in ("ema.safetensors", "model.safetensors"):
            config = json.loads((NEWEST / "config.json").read_text())
            change_config(config)
            state = {**load_file(NEWEST / name), **tensors}
            save_file(state, NEWEST / name, {CONFIG: json.dumps(config)})
        renew()

    return change


def model(**changes: Any) -> Change:
    return weights(lambda config: config["model"].update(changes))


def data(**changes: Any) -> Change:
    return weights(lambda config: config["data"].update(changes))


def training(**changes: Any) -> Change:
    return weights(lambda config: config["train"].update(changes))


def link(path: str | Path, target: str) -> Change:
    def change() -> None:
        remove(Path(path))
        Path(path).symlink_to(target)

    return change


def remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def instead(path: str | Path, make: Callable[[Path], object]) -> Change:
    def change() -> None:
        remove(Path(path))
        make(Path(path))

    return change


def content(path: str | Path, content: bytes) -> Change:
    return instead(path, lambda path: path.write_bytes(content))


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.getcwd()
        os.chdir(path.parent)
        listener.bind(path.name)
        os.chdir(directory)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


def nested(depth: int) -> Path:
    path = Path("run/checkpoints")
    return path.joinpath(*["d"] * depth)


ODD_THINGS: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": bind,
    "a sparse file of 4 TB": sparse,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "memory": lambda path: path.symlink_to("/proc/self/mem"),
    "an empty file": Path.touch,
}
PLACES = ["manifest.json", "ema.safetensors", "trainer.pt", "config.json"]
OF_A_RUN = [".lock", "metrics.jsonl", "metrics.csv", "environment.json", "config.json", "results.json", "curves.png"]

CASES: dict[str, Change] = {
    **{f"{where}: {what}": instead(NEWEST / where, make) for where in PLACES for what, make in ODD_THINGS.items()},
    **{f"run, {where}: {what}": instead(Path("run") / where, ODD_THINGS[what]) for where in OF_A_RUN
       for what in ("a folder", "a pipe", "an endless device", "a link to itself")},
    "samples is a file": content("run/samples", b""),
    **{f"{name} leads {where}": link(f"run/{name}", target) for name in ("best", "last")
       for where, target in {"up": "..", "to itself": ".", "to the root": "/", "to a file": "config.json",
                             "in a circle": name, "to devices": "/dev", "far away": "x" * 255}.items()},
    "best is a folder": instead("run/best", Path.mkdir),
    "last is a file": content("run/last", b"step-00000010"),
    "checkpoints is a file": content("run/checkpoints", b""),
    "checkpoints is a circle": link("run/checkpoints", "checkpoints"),
    "checkpoints leads up": link("run/checkpoints", "../run"),
    "a checkpoint of step 10^40": lambda: shutil.copytree(NEWEST, f"run/checkpoints/step-1{'0' * 40}"),
    "a checkpoint with Arabic digits": lambda: shutil.copytree(NEWEST, "run/checkpoints/step-\u0661\u0662\u0663"),
    "a checkpoint with no UTF-8 in its name": lambda: os.mkdir(b"run/checkpoints/step-\xff"),
    "a checkpoint that is a link to another": lambda: Path("run/checkpoints/step-00000020").symlink_to(NEWEST.name),
    "a checkpoint that is a circle": lambda: Path("run/checkpoints/step-00000020").symlink_to("step-00000020"),
    "an outgoing checkpoint alone": lambda: NEWEST.rename(NEWEST.with_name(f".outgoing-{NEWEST.name}")),
    "1,000 empty checkpoints": lambda: [os.mkdir(f"run/checkpoints/step-{number}") for number in range(100, 1100)],
    "folders 900 deep": lambda: nested(900).mkdir(parents=True),
    **{f"manifest {changes}": manifest(**changes) for changes in (
        {"manifest_version": 0}, {"manifest_version": True}, {"manifest_version": "1"}, {"manifest_version": 1.0},
        {"manifest_version": 10**30}, {"files": None}, {"files": []}, {"files": {}},
        {"step": -1}, {"step": "10"}, {"step": 10**30}, {"epoch": -5}, {"epoch": 10**30}, {"epoch": 1.5},
        {"epoch": None}, {"images_seen": -1}, {"images_seen": 10**30}, {"images_seen": True}, {"finished": 1},
        {"finished": "no"}, {"stale_validations": []}, {"stale_validations": "x"}, {"stale_validations": -1},
        {"saved_at": {"\x1b[2J": "\x1b]52;c;aGk=\x07"}})},
    **{f"model {str(changes)[:60]}": model(**changes) for changes in (
        {"classes": ["a", "a", "b", "c"]}, {"classes": ["", " ", "\n", "\t"]},
        {"classes": ["x" * 10_000, "b", "c", "d"]},
        {"classes": ["\x1b[31mred", "\u202eltr", "\x9b2J", "\ud800"]}, {"classes": ["a\nerror: b", "b", "c", "d"]},
        {"classes": ["../../etc", "/", "..", "nul"]}, {"classes": [["a"], "b", "c", "d"]}, {"classes": 4},
        {"class_counts": [-1, 1, 1, 1]}, {"class_counts": [0, 0, 0, 0]}, {"class_counts": [1]},
        {"class_counts": [10**30] * 4}, {"class_counts": [1.5] * 4}, {"dropout": 0.9999999}, {"dropout": 1e-320},
        {"nr_resnets": 0}, {"nr_resnets": 51}, {"nr_filters": -1}, {"nr_filters": 3.0}, {"image_channels": 1},
        {"image_channels": True}, {"image_height": 9}, {"image_height": 1, "image_width": 1}, {"image_width": 4096},
        {"early_fusion": "template"}, {"early_fusion": "none"}, {"early_fusion": "none", "film": "none"},
        {"film": "mlp"}, {"film": None}, {"class_embedding_dim": 5}, {"unknown": 1}, {"": {}})},
    **{f"data {str(changes)[:60]}": data(**changes) for changes in (
        {"dataset": "../../etc"}, {"dataset": ""}, {"dataset": "folder"}, {"dataset": "cpen455", "data_dir": "/proc"},
        {"dataset": "folder", "data_dir": "~nouser/x"}, {"dataset": "folder", "data_dir": "x" * 5000},
        {"dataset": "folder", "data_dir": "a\0b"}, {"dataset": "folder", "data_dir": "/dev/zero"},
        {"dataset": "mnist", "data_dir": "run"}, {"dataset": "arrays"}, {"image_size": 9}, {"image_size": 4096},
        {"image_size": 0}, {"train_size": 10**30}, {"train_size": 3}, {"validation_fraction": 1},
        {"split_seed": -(10**20)}, {"channels": 2}, {"skip_bad": "yes"})},
    **{f"training {str(changes)[:60]}": training(**changes) for changes in (
        {"epochs": 0}, {"epochs": 10**30}, {"batch_size": 2**31}, {"batch_size": 10**9}, {"lr": "1"}, {"lr": 1e308},
        {"lr": 5e-324}, {"seed": -1}, {"seed": 2**127}, {"threads": "-1"}, {"threads": "9" * 30}, {"compile": "now"},
        {"keep_checkpoints": "0"}, {"init_from": "/dev/zero"}, {"patience": 2**31}, {"max_minutes": 1e308},
        {"eval_interval": 2**31 - 1}, {"accumulate": 9}, {"precision": "float8"})},
    "a weight that is not finite": weights(**{"out.b": torch.full((20,), torch.nan)}),
    "weights of 1e38": weights(**{"out.b": torch.full((20,), 3e38)}),
    "weight scales of 0": weights(**{"out.g": torch.zeros(20)}),
    "directions of 0": weights(**{"out.v": torch.zeros(20, 3, 1, 1)}),
    "weights in float64": weights(**{"out.b": torch.zeros(20, dtype=torch.float64)}),
    "weights in float16": weights(**{"out.b": torch.zeros(20, dtype=torch.float16)}),
    "weights in int64": weights(**{"out.b": torch.zeros(20, dtype=torch.int64)}),
    "complex weights": weights(**{"out.b": torch.zeros(20, dtype=torch.complex64)}),
    "weights of no dimension": weights(**{"out.b": torch.zeros(())}),
    "a weight too many": weights(x=torch.zeros(1)),
    "a weight whose name is 1 MB": weights(**{"x" * 10**6: torch.zeros(1)}),
    "a weight with an odd name": weights(**{"\x1b[2J\u202e": torch.zeros(1)}),
    "metrics of 70 MB": content("run/metrics.jsonl", b"{}\n" * 23_000_000),
    "metrics in one line": content("run/metrics.jsonl", b"[" * 10**6),
    "metrics with zero bytes": content("run/metrics.jsonl", bytes(10_000)),
    "an environment of nested lists": content("run/environment.json", b"[" * 10**6),
    "an environment of numbers": content("run/environment.json", b"[" + b"1," * 10**6 + b"1]"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_forged_run(cli: Callable[..., Any], unharmed: Callable[..., Any], case: str) -> None:
    """It is classified with and prepared for resuming; where the newest checkpoint cannot be used, the older one is."""
    before = {path: path.read_bytes() for path in OLDER.rglob("*") if path.is_file()}
    CASES[case]()
    unharmed(cli("classify", "image.png", "--model", "run"), {0, 4})
    with suppress(CpixelcnnError):
        plan = make_plan(Request(train={"epochs": 9}), resume="run")
        if plan.checkpoint is not None:
            read_training(plan.checkpoint)
    record_environment_and_metrics()
    after = {path: path.read_bytes() for path in before if path.is_file()}
    assert not after or after == before, "a sound checkpoint was changed"


def record_environment_and_metrics() -> None:
    """What a training that goes on reads of the run beside its checkpoint."""
    log = MetricsLog(Path("run"), 9)
    assert all(isinstance(record.epoch, int) for record in log.records)
    read_results(Path("run"))
