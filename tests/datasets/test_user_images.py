"""Images handed over for classification: files and directories, known and unknown classes, good and bad."""

import os
from pathlib import Path

import pytest
from PIL import Image

from cpixelcnn.datasets.user_images import Inputs, read_inputs
from cpixelcnn.errors import BadImagesError, DataError

CLASSES = ("hamburger", "panda", "koala", "pizza")


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (9, 9, 9)).save(path, format="PNG")
    return path


def read(*paths: Path, skip_bad: bool = True) -> Inputs:
    return read_inputs(paths, classes=CLASSES, channels=3, height=4, width=4, skip_bad=skip_bad)


def test_files_and_directories_with_and_without_classes(tmp_path: Path) -> None:
    put(tmp_path / "set" / "koala" / "2.png")
    put(tmp_path / "set" / "koala" / "10.png")
    put(tmp_path / "set" / "lion" / "1.png")
    put(tmp_path / "set" / "top.png")
    single = put(tmp_path / "panda" / "upload.tmp")
    images, failures = read(single, tmp_path / "set")
    assert failures == []
    assert [path.name for path in images.paths or ()] == ["upload.tmp", "top.png", "2.png", "10.png", "1.png"]
    assert images.labels.tolist() == [1, -1, 2, 2, -1]
    assert images.images.shape == (5, 3, 4, 4) and images.classes == CLASSES and not images.labelled


def test_a_class_is_known_inside_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "koala" / "1.png")
    monkeypatch.chdir(tmp_path / "koala")
    assert read(Path("1.png")).images.labels.tolist() == read(Path()).images.labels.tolist() == [2]


def test_an_image_named_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "1.png")
    monkeypatch.chdir(tmp_path)
    assert read(path, tmp_path, Path("1.png")).images.paths == (path,)


def test_bad_files_are_returned_beside_the_good_ones(tmp_path: Path) -> None:
    good = put(tmp_path / "b.png")
    (tmp_path / "a.png").mkdir()
    (tmp_path / "c.png").write_bytes(good.read_bytes()[:30])
    (tmp_path / "d.png").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    images, failures = read(tmp_path, tmp_path / "absent", tmp_path / "empty")
    assert images.paths == (good,) and images.nr_skipped == 5
    reasons = {path.name: reason for path, reason in failures}
    assert list(reasons) == ["a.png", "c.png", "d.png", "absent", "empty"]
    assert reasons["absent"] == "no such file" and reasons["empty"] == "no images in this directory"
    with pytest.raises(BadImagesError, match="5 images cannot be used"):
        read(tmp_path, tmp_path / "absent", tmp_path / "empty", skip_bad=False)


def test_none_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(BadImagesError, match=r"a\.png: the file is empty"):
        read(tmp_path)


def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there are no images in .*; name image files or directories"):
        read(tmp_path)
    with pytest.raises(DataError, match="an empty list of paths"):
        read()


@pytest.mark.parametrize("name", ["with space.png", "[brackets].png", "-dash.png", "ünïcode-パンダ.png", "50%.png"])
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    put(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read(Path(name)).images.paths == (Path(name),)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    put(path)
    assert read(tmp_path).images.paths == (path,)
