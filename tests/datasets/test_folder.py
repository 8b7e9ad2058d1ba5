"""Folders of images with one sub-folder per class, in both layouts, and the ways in which they are not quite that."""

from pathlib import Path

import pytest
from PIL import Image

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.errors import BadImagesError, ConfigError, DataError


def fill(folder: Path, count: int, suffix: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / f"{index}.{suffix}")


def load(root: Path, split: str = "train", **options: bool | float) -> ImageSet:
    return load_split(DataConfig("folder", str(root), image_size=8, **options), split)  # type: ignore[arg-type]


def test_splits_are_drawn_where_there_are_none(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 20)
    fill(tmp_path / "dog", 30)
    parts = {split: load(tmp_path, split) for split in ("train", "validation", "test")}
    assert parts["train"].classes == ("cat", "dog")
    assert parts["train"].class_counts == (16, 24)
    assert parts["validation"].class_counts == parts["test"].class_counts == (2, 3)
    paths = [path for part in parts.values() for path in part.paths or ()]
    assert len(paths) == len(set(paths)) == 50
    for part in parts.values():
        assert [part.classes[label] for label in part.labels] == [path.parent.name for path in part.paths or ()]
    assert parts["test"].origin == f"held out from {tmp_path} (0.1 of each class, seed 0)"
    assert "without validation and test" in parts["train"].origin


def test_the_folders_are_the_splits_where_there_are_some(tmp_path: Path) -> None:
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        for name in ("cat", "dog"):
            fill(tmp_path / split / name, count)
    assert [load(tmp_path, split).class_counts for split in ("train", "validation", "test")] == [(5, 5), (3, 3), (2, 2)]
    assert load(tmp_path, "train").origin == str(tmp_path / "train")


def test_a_missing_split_folder_is_drawn_from_train(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 10)
        fill(tmp_path / "test" / name, 4)
    assert [load(tmp_path, split).class_counts for split in ("train", "validation", "test")] == [(9, 9), (1, 1), (4, 4)]


def test_held_out_folders_may_have_fewer_classes_but_no_others(tmp_path: Path) -> None:
    for name in ("cat", "dog", "emu"):
        fill(tmp_path / "train" / name, 3)
    fill(tmp_path / "validation" / "emu", 1)
    fill(tmp_path / "validation" / "cat", 1)
    assert load(tmp_path, "validation").labels.tolist() == [0, 2]
    fill(tmp_path / "validation" / "fox", 1)
    with pytest.raises(DataError, match=r"validation has classes that .*train has not \(fox\)"):
        load(tmp_path, "validation")


def test_a_test_folder_without_classes_is_unlabelled(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "cat", 3)
    fill(tmp_path / "test", 2)
    test = load(tmp_path, "test")
    assert test.labels.tolist() == [-1, -1] and not test.labelled and "not known" in test.origin


def test_an_empty_test_folder(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "cat", 3)
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"the test split of folder in .* has no images"):
        load(tmp_path, "test")


def test_two_validation_folders_contradict(tmp_path: Path) -> None:
    for split in ("train", "validation", "val"):
        fill(tmp_path / split / "cat", 3)
    with pytest.raises(DataError, match="both validation and val"):
        load(tmp_path)


def test_train_may_be_a_class(tmp_path: Path) -> None:
    for name in ("train", "car", "plane"):
        fill(tmp_path / name, 4)
    assert load(tmp_path).classes == ("car", "plane", "train")


def test_pictures_in_a_train_folder_without_classes(tmp_path: Path) -> None:
    for name in ("train", "test"):
        fill(tmp_path / name, 4)
    with pytest.raises(DataError, match="train has 4 images but no folders"):
        load(tmp_path)


def test_upper_case_extensions_and_deeper_folders(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 3, "PNG")
    fill(tmp_path / "dog" / "deeper", 3, "JPG")
    assert load(tmp_path, validation_fraction=0.3).class_counts == (1, 1)


def test_classes_in_natural_order(tmp_path: Path) -> None:
    for name in ("class10", "class2", "Class1"):
        fill(tmp_path / name, 3)
    assert load(tmp_path).classes == ("Class1", "class2", "class10")


def test_one_class_is_allowed_here(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 5)
    assert load(tmp_path).class_counts == (3,)


def test_empty_classes_are_named(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 3)
    (tmp_path / "dog").mkdir()
    (tmp_path / "emu").mkdir()
    (tmp_path / "emu" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"the class folders dog, emu of .* have no images"):
        load(tmp_path)


def test_loose_images(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 3)
    fill(tmp_path, 1)
    with pytest.raises(DataError, match=r"has 1 image beside its class folders, such as 0\.png"):
        load(tmp_path)


def test_a_folder_named_like_an_image_is_no_class(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 3)
    (tmp_path / "x.png").mkdir()
    with pytest.raises(DataError, match=r"such as x\.png"):
        load(tmp_path)


def test_no_classes_and_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folders; put the images of each class"):
        load(tmp_path)
    fill(tmp_path, 2)
    with pytest.raises(DataError, match="has 2 images but no folders"):
        load(tmp_path)


def test_bad_images_in_a_class(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 6)
    (tmp_path / "cat" / "bad.png").mkdir()
    (tmp_path / "cat" / "gone.png").symlink_to("nowhere")
    parts = [load(tmp_path, split, skip_bad=True) for split in ("train", "validation", "test")]
    assert sum(part.nr_skipped for part in parts) == 2 and sum(map(len, parts)) == 6
    with pytest.raises(BadImagesError, match="cannot be used"):
        for split in ("train", "validation", "test"):
            load(tmp_path, split)


def test_a_fraction_that_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 6)
    with pytest.raises(ConfigError, match=r"`validation_fraction` must be less than 0\.5"):
        load(tmp_path, validation_fraction=0.5)


def test_animations_are_noted(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 5)
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (9, 8)]
    frames[0].save(tmp_path / "cat" / "moving.gif", save_all=True, append_images=frames[1:])
    notes = [note for split in ("train", "validation", "test") for note in load(tmp_path, split).notes]
    assert notes == [f"{tmp_path}/cat/moving.gif holds several pictures; the first is used"]
