"""`cpixelcnn sample`: files, manifest and grid, the same for the same seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cpixelcnn.data.sample_folder import read_samples
from cpixelcnn.inference.loading import load
from cpixelcnn.inference.sampling import sample
from cpixelcnn.storage import file_digest

Cli = Callable[..., Any]
Tree = Callable[[Path], dict[str, bytes]]


def test_the_document_and_the_folder(
    cli: Cli, home: Path, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(home)
    out = tmp_path / "a" / "samples"
    outcome = cli("sample", "--out", out, "-k", 2, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.document
    assert {"out", "n_images", "labels", "seconds"} <= set(document)
    assert (document["out"], document["n_images"]) == (str(out), 8)
    assert document["labels"] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert document["seconds"] > 0

    manifest = json.loads((out / "manifest.json").read_text())
    weights = run / "best" / "ema.safetensors"
    assert Path(manifest["model"]).samefile(weights)
    assert manifest["model_sha256"] == file_digest(weights)
    assert manifest["data"]["dataset"] == "embedded"
    assert [entry["label"] for entry in manifest["images"]] == document["labels"]
    assert [entry["seed"] for entry in manifest["images"]] == document["seeds"]
    assert {path.name for path in out.iterdir()} == {
        "manifest.json",
        "grid.png",
        *(entry["file"] for entry in manifest["images"]),
    }
    assert {"hamburger-00000.png", "panda-00002.png", "pizza-00007.png"} <= {path.name for path in out.iterdir()}
    with Image.open(out / "hamburger-00000.png") as image:
        assert (image.size, image.mode) == ((8, 8), "RGB")
    with Image.open(out / "grid.png") as grid:
        assert grid.width < grid.height  # two columns, four rows

    images, data = read_samples(out)
    again = sample(load(run), document["labels"], seeds=document["seeds"])
    assert np.array_equal(images.images.numpy(), again.images.numpy())
    assert data is not None
    assert data.dataset == "embedded"


def test_for_people(cli: Cli, run: Path, tmp_path: Path) -> None:
    outcome = cli("sample", "--model", run, "-k", 1, "-c", "panda", "-c", "3")
    assert outcome.code == 0, outcome.err
    assert "samples in out" in outcome.out
    assert "panda, pizza" in outcome.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "grid.png",
        "manifest.json",
        "panda-00000.png",
        "pizza-00001.png",
    ]


def test_the_same_seed_gives_the_same_files(cli: Cli, run: Path, tree: Tree) -> None:
    for name, arguments in {"a": [], "b": ["-b", 3], "c": ["-s", 1]}.items():
        assert cli("sample", "--model", run, "-k", 1, "-o", name, *arguments).code == 0
    assert tree(Path("a")) == tree(Path("b"))
    assert tree(Path("a")) != tree(Path("c"))


def test_samples_are_replaced_only_if_asked(cli: Cli, run: Path, tree: Tree) -> None:
    arguments = ["sample", "--model", run, "-c", "koala", "-k"]
    assert cli(*arguments, 3).code == 0
    Path("out/mine.txt").write_text("keep me")
    before = tree(Path("out"))
    outcome = cli(*arguments, 1, "--json")
    assert outcome.code == 2
    assert "--overwrite" in outcome.document["error"]
    assert tree(Path("out")) == before
    assert cli(*arguments, 1, "--overwrite", "-s", 5).code == 0
    assert sorted(tree(Path("out"))) == ["grid.png", "koala-00000.png", "manifest.json", "mine.txt"]


def test_pictures_that_are_not_samples_are_not_overwritten(cli: Cli, run: Path) -> None:
    """A folder of somebody's own pictures, one of which happens to be called grid.png."""
    Path("out").mkdir()
    Path("out/grid.png").write_bytes(b"somebody's own picture")
    outcome = cli("sample", "--model", run, "-c", "koala", "-k", 1)
    assert Path("out/grid.png").read_bytes() == b"somebody's own picture", outcome


@pytest.mark.parametrize("name", ["²", "4", "-1", "Panda", "sushi"])
def test_unknown_classes_are_listed(cli: Cli, run: Path, name: str) -> None:
    outcome = cli("sample", "--model", run, "--class", name)
    assert outcome.code == 2
    assert name in outcome.err
    assert "hamburger, panda, koala, pizza" in outcome.err
    assert not Path("out").exists()


def test_a_place_that_cannot_be_written_to(cli: Cli, run: Path) -> None:
    Path("file").touch()
    for out in ("file", "file/below"):
        outcome = cli("sample", "--model", run, "--out", out)
        assert outcome.code == 2
        assert f"{out} cannot be written to" in outcome.err
        assert "--out" in outcome.err


@pytest.mark.parametrize("name", ["my samples", "[red]samples[/red]", "Bäckerei 猫", "-out", ":pizza:"])
def test_odd_places(cli: Cli, run: Path, name: str) -> None:
    outcome = cli("sample", "--model", run, "-c", "0", "-k", 1, "--out", name)
    assert outcome.code == 0, outcome.err
    assert Path(name, "hamburger-00000.png").is_file()
    assert f"samples in {name}" in outcome.out
