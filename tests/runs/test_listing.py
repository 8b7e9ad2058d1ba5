"""The list of models, and which one is taken where none is named."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn import list_models
from cpixelcnn.config import DataConfig, ModelConfig, RunConfig
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import save_weights
from cpixelcnn.runs.layout import FILES
from cpixelcnn.runs.models import find_model, shipped_models
from cpixelcnn.storage import file_digest, write_json

MODEL = ModelConfig(nr_filters=2, nr_logistic_mix=1, image_height=4, image_width=6, classes=("a", "b"))
RECORD = {"step": 8, "images_seen": 8, "train_bpd": 5.0, "lr": 1e-3, "grad_norm": 1.0, "images_per_second": 1.0,
          "bad_steps": 0, "seconds": 1.0}  # fmt: skip

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """`make_run(name, dataset=..., data_dir=..., finished=True)`: under runs/, each newer than those before it."""
    monkeypatch.chdir(tmp_path)
    made: list[Path] = []

    def make(name: str, *, finished: bool = True, **data: Any) -> Path:
        run = Path("runs") / name
        checkpoint = run / "checkpoints" / "step-00000008"
        checkpoint.mkdir(parents=True)
        config = RunConfig(MODEL, DataConfig(**data))
        for weights in ("model.safetensors", "ema.safetensors"):
            save_weights(checkpoint / weights, PixelCNN(MODEL).state_dict(), config)
        write_json(checkpoint / "config.json", config.to_json())
        write_json(run / "config.json", config.to_json())
        (checkpoint / "trainer.pt").touch()
        files = {each: file_digest(checkpoint / each) for each in FILES}
        manifest = {"manifest_version": 1, "epoch": 2, "finished": finished, "saved_at": "2026-01-02T03:04:05Z"}
        write_json(checkpoint / "manifest.json", {**manifest, "files": files})
        made.append(run)
        os.utime(checkpoint / "manifest.json", (1_000_000 * len(made),) * 2)
        for link in ("last", "best"):
            (run / link).symlink_to(f"checkpoints/{checkpoint.name}")
        return run

    return make


def test_shipped_models_with_what_they_reached() -> None:
    entries = {entry.name: entry for entry in list_models("nowhere")}
    assert set(entries) == set(shipped_models())
    for entry in entries.values():
        unknown = [name for name, value in dataclasses.asdict(entry).items() if value is None]
        assert unknown == ["problem", "finished"]
    assert entries["small"].parameters == 996_116
    assert (entries["tiny"].dataset, entries["tiny"].architecture) == ("embedded", "1/24/5")


def test_a_run_with_its_validation_and_then_with_its_test(make_run: MakeRun) -> None:
    run = make_run("one", finished=False)
    records = [
        {**RECORD, "epoch": epoch, "validation_images": 50, "validation_bpd": 4.0 + epoch, "accuracy": epoch / 10}
        for epoch in (1, 2)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    entry = list_models()[-1]
    assert (entry.name, entry.kind, entry.finished, entry.epochs) == ("one", "run", False, 2)
    assert (entry.split, entry.n_images, entry.accuracy, entry.bpd) == ("validation", 50, 0.2, 6.0)
    assert (entry.image_size, entry.nr_classes, entry.date) == ((4, 6), 2, "2026-01-02T03:04:05Z")
    assert entry.parameters == sum(p.numel() for p in PixelCNN(MODEL).parameters())
    write_json(run / "results.json", {"test": {"n_images": 9, "accuracy": 0.5, "bpd": 3.5, "bpd_marginal": 3.6}})
    entry = list_models()[-1]
    assert (entry.split, entry.n_images, entry.accuracy, entry.bpd) == ("test", 9, 0.5, 3.5)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400])
def test_a_number_that_is_none_is_left_out(make_run: MakeRun, cli: Callable[..., Any], number: str) -> None:
    """JSON knows integers that no float can be."""
    (make_run("odd") / "results.json").write_text(f'{{"test": {{"accuracy": {number}, "bpd": {number}}}}}')
    assert list_models()[-1].accuracy is list_models()[-1].bpd is None
    assert cli("models").code == 0


def test_broken_runs_are_listed_as_such(make_run: MakeRun) -> None:
    for name in ("damaged", "good", "emptied", "nonsense"):
        make_run(name)
    (Path("runs/damaged/best") / "ema.safetensors").write_bytes(b"x")
    shutil.rmtree("runs/emptied/checkpoints/step-00000008")
    Path("runs/nonsense/metrics.jsonl").write_text('{"epoch": []}\nx')
    Path("runs/nonsense/results.json").write_text('{"test": [1]}')
    Path("runs/file").touch()
    Path("runs/notes").mkdir()
    entries = {entry.name: entry for entry in list_models() if entry.kind == "run"}
    assert set(entries) == {"damaged", "emptied", "good", "nonsense"}
    assert "differs from its checksum" in str(entries["damaged"].problem)
    assert "no usable checkpoint" in str(entries["emptied"].problem)
    assert entries["good"].problem is entries["nonsense"].problem is entries["nonsense"].accuracy is None


def test_images_of_the_user_are_for_the_model_of_photographs(make_run: MakeRun) -> None:
    assert find_model(images=["photos"]).description == "shipped model 'small-crops' (for photographs)"
    make_run("drawn")
    found = find_model(images=["photos"])
    assert found.path == shipped_models()["small-crops"]
    assert "--model drawn" in found.description, "the newest run is told, not taken"
    assert "newest finished run" in find_model().description


def test_images_of_a_folder_that_a_run_was_trained_on(make_run: MakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "cat").mkdir(parents=True)
    make_run("on-folder", dataset="folder", data_dir=str(folder))
    make_run("drawn")
    for images in (["mine"], [folder / "cat", "mine/cat/*.png"]):
        found = find_model(images=images)
        assert found.description.startswith("newest run on images of that folder, runs/on-folder")
    for others in (["mine", "photos"], ["-"], [], ["mine-too"]):
        assert find_model(images=others).path == shipped_models()["small-crops"]


def test_a_data_set_is_for_a_run_that_was_trained_on_it(make_run: MakeRun) -> None:
    assert find_model(dataset="cpen455").path == shipped_models()["small-crops"]
    assert find_model(dataset="embedded").path == find_model().path == shipped_models()["tiny"]
    make_run("photos", dataset="cpen455", data_dir="nowhere")
    make_run("drawn")
    make_run("going", dataset="cpen455", finished=False)
    (Path("runs") / "strange").mkdir()
    assert "newest finished run on cpen455 runs/photos" in find_model(dataset="cpen455").description
    assert "runs/drawn" in find_model(dataset="embedded").description
    assert find_model(dataset="mnist").description == "shipped model 'tiny' (no finished run on mnist under runs/)"
    Path("runs/photos/config.json").write_text("[")
    assert find_model(dataset="cpen455").path == shipped_models()["small-crops"]
