"""`cpixelcnn sample`: files, manifest and grid, the same for the same seed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cpixelcnn.config import OWN_ARRAYS
from cpixelcnn.runs.models import load
from cpixelcnn.sampling.ancestral import AncestralSampler
from cpixelcnn.sampling.folder.reader import read_samples
from cpixelcnn.sampling.sample import sample
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
    assert document["labels"] == [0, 1, 2, 3, 0, 1, 2, 3]
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
    assert {"hamburger-00000.png", "panda-00005.png", "pizza-00007.png"} <= {path.name for path in out.iterdir()}
    with Image.open(out / "hamburger-00000.png") as image:
        assert (image.size, image.mode) == ((8, 8), "RGB")
    with Image.open(out / "grid.png") as grid:
        assert 400 < grid.width < grid.height  # captions and two columns, four rows

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


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_folder_of_somebodys_own_images_is_left_alone(cli: Cli, run: Path, tree: Tree, more: list[str]) -> None:
    """Samples among them would count as their images."""
    Path("my-images").mkdir()
    Path("my-images/holiday.jpg").write_bytes(b"somebody's own picture")
    outcome = cli("sample", "--model", run, "-c", "koala", "-k", 1, "-o", "my-images", *more)
    assert outcome.code == 2
    assert "my-images holds holiday.jpg, and no samples; choose another --out" in outcome.err
    assert list(tree(Path("my-images"))) == ["holiday.jpg"]


@pytest.mark.parametrize("format", ["png", "npz"])
def test_more_are_added_to_a_folder(cli: Cli, run: Path, tree: Tree, format: str) -> None:
    arguments = ["sample", "--model", run, "--format", format, "--json", "-k"]
    assert cli(*arguments, 3, "-o", "whole").code == 0
    assert cli(*arguments, 1).document["n_drawn"] == 4
    outcome = cli(*arguments, 3)
    assert (outcome.document["n_images"], outcome.document["n_drawn"]) == (12, 8)
    assert tree(Path("out")) == tree(Path("whole"))
    outcome = cli(*arguments, 4, "-s", 1)
    assert outcome.code == 2
    assert "holds other samples (they differ in images)" in outcome.err
    assert tree(Path("out")) == tree(Path("whole"))


def test_a_strip_of_an_image_while_it_is_drawn(cli: Cli, run: Path) -> None:
    outcome = cli("sample", "--model", run, "-k", 1, "--strip")
    assert outcome.code == 0, outcome.err
    assert "out/strip.png" in outcome.out
    with Image.open("out/strip.png") as strip, Image.open("out/grid.png") as grid:
        assert strip.width > grid.width
    assert len(read_samples(Path("out"))[0]) == 4
    assert cli("sample", "--model", run, "-k", 1, "--json").document["n_drawn"] == 0


def test_classes_in_any_case_and_a_suggestion(cli: Cli, run: Path) -> None:
    outcome = cli("sample", "--model", run, "-k", 1, "-c", "Panda,KOALA", "--json")
    assert outcome.document["classes"] == ["panda", "koala"]
    outcome = cli("sample", "--model", run, "-c", "koalla")
    assert outcome.code == 2
    assert "did you mean 'koala'?" in outcome.err


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("²", "its classes are: hamburger, panda, koala, pizza"),
        ("4", "has 4 classes, counted from 0"),
        ("-1", "hamburger, panda, koala, pizza"),
        ("sushi", "hamburger, panda, koala, pizza"),
    ],
)
def test_unknown_classes(cli: Cli, run: Path, name: str, listed: str) -> None:
    outcome = cli("sample", "--model", run, "--class", name)
    assert outcome.code == 2
    assert name in outcome.err
    assert listed in outcome.err
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


# --- How to sample --------------------------------------------------------------------------------------------------


def test_a_list_of_classes(cli: Cli, run: Path) -> None:
    outcome = cli("sample", "--model", run, "-k", 1, "-c", "panda,3", "-c", "koala", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["classes"] == ["panda", "pizza", "koala"]


def test_the_naive_sampler_draws_the_same_images(cli: Cli, run: Path) -> None:
    for sampler in ("incremental", "naive"):
        assert cli("sample", "--model", run, "-k", 1, "--sampler", sampler, "-o", sampler).code == 0
    fast, slow = (read_samples(Path(name))[0].images for name in ("incremental", "naive"))
    assert np.array_equal(fast.numpy(), slow.numpy())


def test_what_is_not_the_model_says_so(cli: Cli, run: Path) -> None:
    plain = cli("sample", "--model", run, "-k", 1, "-o", "plain")
    assert "not draws from the model" not in plain.err
    for i, options in enumerate((["--guidance", 1], ["--mixture-temperature", 0.5], ["--scale-temperature", 0.5])):
        outcome = cli("sample", "--model", run, "-k", 1, "-o", f"other{i}", *options, "--json")
        assert outcome.code == 0, outcome.err
        assert "not draws from the model" in outcome.err
        assert outcome.document["settings"][str(options[0])[2:].replace("-", "_")] == options[1]
        assert not np.array_equal(
            read_samples(Path(f"other{i}"))[0].images.numpy(), read_samples(Path("plain"))[0].images.numpy()
        )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--sampler", "fast"], "incremental or naive"),
        (["--precision", "float16"], "float32 or bfloat16"),
        (["--guidance", "-1"], "--guidance"),
        (["--mixture-temperature", "0"], "--mixture-temperature"),
        (["--guidance-model", "tiny"], "--guidance"),
        (["--from-row", "3"], "--complete"),
        (["--format", "gif"], "png or npz"),
    ],
)
def test_options_that_cannot_be_used(cli: Cli, run: Path, options: list[str], named: str) -> None:
    outcome = cli("sample", "--model", run, *options)
    assert outcome.code == 2
    assert named in outcome.err
    assert not Path("out").exists()


# --- Completion -----------------------------------------------------------------------------------------------------


def test_completion_keeps_the_rows_above(cli: Cli, run: Path) -> None:
    assert cli("sample", "--model", run, "-k", 1, "-o", "given").code == 0
    image = "given/panda-00001.png"
    outcome = cli("sample", "--model", run, "--complete", image, "-c", "0,1", "-k", 3, "--from-row", 5, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["labels"] == [0, 1, 0, 1, 0, 1]
    completed = read_samples(Path("out"))[0].images
    with Image.open(image) as opened:
        original = np.asarray(opened).transpose(2, 0, 1)
    assert (completed[:, :, :5].numpy() == original[:, :5]).all()
    assert len(np.unique(completed[:, :, 5:].numpy(), axis=0)) == 6
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["settings"]["from_row"] == 5
    assert {entry["given"] for entry in manifest["images"]} == {image}
    with Image.open("out/grid.png") as grid:
        assert grid.width > grid.height  # before, kept and three completions; a line for each class


def test_the_class_of_a_completion_is_that_of_its_folder(cli: Cli, run: Path) -> None:
    assert cli("sample", "--model", run, "-k", 1, "-o", "given").code == 0
    Path("koala").mkdir()
    Path("given/koala-00002.png").rename("koala/one.png")
    Path("given/panda-00001.png").rename("other.png")
    outcome = cli("sample", "--model", run, "--complete", "koala", "--complete", "other.png", "-k", 1, "--json")
    assert outcome.document["labels"] == [2, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--complete", "nowhere.png"], 3),
        (["--complete", "bad.png"], 3),
        (["--complete", "good.png", "--from-row", 8], 2),
    ],
)
def test_completions_that_cannot_be(cli: Cli, run: Path, options: list[str], code: int) -> None:
    Path("bad.png").write_text("no picture")
    Image.new("RGB", (8, 8)).save("good.png")
    outcome = cli("sample", "--model", run, *options)
    assert outcome.code == code
    assert str(options[-1]) in outcome.err
    assert "skip-bad" not in outcome.err, "an option that this command does not have"
    assert not Path("out").exists()


def test_samples_of_a_model_of_own_arrays_name_no_data_set(cli: Cli, run: Path) -> None:
    """Their distance from the embedded set's images would mean nothing."""
    assert cli("sample", "--model", run, "-k", 1).code == 0
    manifest = json.loads(Path("out/manifest.json").read_text())
    manifest["data"]["dataset"] = OWN_ARRAYS
    Path("out/manifest.json").write_text(json.dumps(manifest))
    _, data = read_samples(Path("out"))
    assert data is not None
    assert data.dataset == OWN_ARRAYS
    outcome = cli("fid", "--samples", "out")
    assert outcome.code in (2, 3)
    assert "was trained on arrays that no command can load again" in outcome.err


# --- Interruptions, many processes ----------------------------------------------------------------------------------


def test_an_interrupted_command_goes_on(cli: Cli, run: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["sample", "--model", run, "-k", 3, "-b", 4, "-o"]
    assert cli(*arguments, "whole").code == 0
    draw_row, rows = AncestralSampler._run_row, iter(range(8 + 5))  # 8 rows of the first batch, 5 of the second

    def interrupted(self: AncestralSampler, *, kept: bool) -> None:
        if next(rows, None) is None:
            raise KeyboardInterrupt
        draw_row(self, kept=kept)

    with monkeypatch.context() as patch:
        patch.setattr(AncestralSampler, "_run_row", interrupted)
        outcome = cli(*arguments, "parts")
    assert outcome.code == 130
    assert "4 of 12 images are safe in parts" in outcome.err
    assert "4 of 12" in cli("fid", "--samples", "parts").err, "unfinished samples are not measured"
    outcome = cli(*arguments, "parts", "--json")
    assert outcome.document["n_drawn"] == 8
    assert tree(Path("parts")) == tree(Path("whole"))
    assert cli(*arguments, "parts", "--json").document["n_drawn"] == 0


def test_a_warning_of_the_library_is_one_line(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that rows cannot be recorded on this GPU: what it means, without a line of the source."""
    run_row = AncestralSampler._run_row

    def warning(self: AncestralSampler, *, kept: bool) -> None:
        if self.row == 0:
            warnings.warn("rows are drawn without CUDA graphs", RuntimeWarning, stacklevel=2)
        run_row(self, kept=kept)

    monkeypatch.setattr(AncestralSampler, "_run_row", warning)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        outcome = cli("sample", "--model", run, "-k", 1)
    assert outcome.code == 0, outcome.err
    assert outcome.err.splitlines().count("warning: rows are drawn without CUDA graphs") == 1
    assert "RuntimeWarning" not in outcome.err


def test_an_archive(cli: Cli, run: Path) -> None:
    assert cli("sample", "--model", run, "-k", 2, "-o", "many", "--format", "npz").code == 0
    assert cli("sample", "--model", run, "-k", 2, "-o", "files").code == 0
    assert sorted(path.name for path in Path("many").iterdir()) == ["grid.png", "manifest.json", "samples.npz"]
    archive, files = (read_samples(Path(name))[0] for name in ("many", "files"))
    assert np.array_equal(archive.images.numpy(), files.images.numpy())
    assert archive.labels.tolist() == files.labels.tolist()
    scores = cli("eval", "--model", run, "--samples", "many", "--json").document
    assert scores["n_images"] == 8
