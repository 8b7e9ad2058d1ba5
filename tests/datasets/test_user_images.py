"""Images handed over for classification: files and directories, known and unknown classes, good and bad."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from cpixelcnn.datasets.user_images import UserImages, iter_user_images, read_user_images
from cpixelcnn.errors import BadImagesError, DataError

CLASSES = ("hamburger", "panda", "koala", "pizza")


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (9, 9, 9)).save(path, format="PNG")
    return path


def read(*paths: Path, skip_bad: bool = True) -> UserImages:
    return read_user_images(paths, classes=CLASSES, channels=3, height=4, width=4, skip_bad=skip_bad)


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
    assert reasons["absent"] == "no such file" and reasons["empty"] == "no images in this folder"
    with pytest.raises(BadImagesError, match="5 images cannot be used"):
        read(tmp_path, tmp_path / "absent", tmp_path / "empty", skip_bad=False)


def test_none_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(BadImagesError, match=r"a\.png: the file is empty"):
        read(tmp_path)


def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there are no images in .*; name image files or folders with images"):
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


def test_images_are_read_batch_by_batch(tmp_path: Path) -> None:
    for number in range(5):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.png")
    batches = list(iter_user_images([tmp_path], channels=3, height=4, width=4, batch_size=2))
    assert [len(batch.paths) for batch in batches] == [2, 2, 1]
    assert [int(value) for batch in batches for value in batch.images[:, 0, 0, 0]] == [0, 1, 2, 3, 4]
    reasons = {path.name: reason for batch in batches for path, reason in batch.failures}
    assert set(reasons) == {"bad.png", "pipe.png"} and reasons["pipe.png"] == "not a regular file"


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{number}.png")
    batches = iter_user_images([tmp_path], channels=3, height=4, width=4, batch_size=2)
    next(batches)
    (tmp_path / "3.png").unlink()
    assert [path.name for path, _ in next(batches).failures] == ["3.png"]


def test_patterns_and_names_on_standard_input(tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b.png", "[odd].png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    sizes = {"channels": 1, "height": 4, "width": 4, "batch_size": 8}

    def names(*given: Path | str, listed: Sequence[str] = ()) -> list[str]:
        batches = list(iter_user_images(given, standard_input=listed, **sizes))
        return [path.name for batch in batches for path in batch.paths]

    assert names(tmp_path / "a*.png") == ["a1.png", "a2.png"]
    assert names(tmp_path / "[odd].png") == ["[odd].png"], "a file of that very name"
    assert names("-", listed=[f"{tmp_path}/b.png\n", "\n", f"{tmp_path}/a1.png"]) == ["b.png", "a1.png"]
    assert names(tmp_path / "b.png", tmp_path) == ["b.png", "[odd].png", "a1.png", "a2.png"], "each image once"
    failures = [f for batch in iter_user_images([tmp_path / "z*"], **sizes) for f in batch.failures]
    assert [reason for _, reason in failures] == ["nothing matches this pattern"]


def test_the_first_picture_of_an_animation_is_used_and_said(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (255, 0)]
    for name in ("a.gif", "b.webp", "c.png", "d.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    put(tmp_path / "still.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "still.gif")
    images, _ = read(tmp_path)
    assert images.notes == (
        f"4 files hold several pictures, such as {tmp_path}/a.gif; the first picture of each is used",
    )
    assert images.images[:4, 0].min() > 250
    (batch,) = iter_user_images([tmp_path], channels=3, height=4, width=4, batch_size=9)
    assert [path.name for path in batch.animated] == ["a.gif", "b.webp", "c.png", "d.tif"]


def test_a_folder_that_cannot_be_listed_is_reported_and_the_others_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b", "c"):
        put(tmp_path / folder / "1.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)  # root may list whatever has no permissions
    batches = list(iter_user_images([tmp_path], channels=3, height=4, width=4, batch_size=9))
    assert [path.parent.name for batch in batches for path in batch.paths] == ["a", "c"]
    assert ["b cannot be listed (Permission denied)" in r for b in batches for _, r in b.failures] == [True]


def test_many_bad_files_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").touch()
    batches = list(iter_user_images([tmp_path], channels=3, height=4, width=4, batch_size=4))
    assert [len(batch.failures) for batch in batches] == [4, 4, 2]
    assert batches[0].images.shape == (0, 3, 4, 4)
