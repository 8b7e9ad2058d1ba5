"""Crops of the photographs of a data set: to look at, and to train on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.compression import COMPRESSIONS, Compression
from cpixelcnn.datasets.crops import CORNERS, Crop, random_crops
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.photographs import with_crops, with_random_crops
from cpixelcnn.datasets.reading import read_images
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.errors import BadImagesError, DataError

COMPRESSION = Compression(size=64, quality=75)


def write(path: Path, size: int) -> Path:
    noise = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=75)
    return path


def photographs(folder: Path, *sizes: int, suffix: str = "png") -> ImageSet:
    paths = tuple(write(folder / f"{size}.{suffix}", size) for size in sizes)
    images = read_images(paths, channels=3, height=32, width=32).images
    return ImageSet(images, torch.arange(len(sizes)) % 2, ("ant", "bee"), "some", "train", paths)


def crops_of(path: Path, compression: Compression | None, crops: tuple[Crop, ...] = CORNERS) -> torch.Tensor:
    return read_images([path], channels=3, height=32, width=32, compression=compression, as_is=True, crops=crops).crops[
        :, 0
    ]


def test_image_sets_take_crops_from_their_files(tmp_path: Path) -> None:
    plain = photographs(tmp_path, 90, 40, 110)
    found = with_crops(plain)
    assert plain.crops is None
    assert found.crops is not None
    assert torch.equal(found.images, plain.images)
    for number, path in enumerate(plain.paths or ()):
        assert torch.equal(found.crops[:, number], crops_of(path, None))
    some = found.select(torch.tensor([2, 0]))
    assert some.crops is not None
    assert torch.equal(some.crops, found.crops[:, [2, 0]])


def test_crops_of_compressed_files_alone_are_compressed_again(tmp_path: Path) -> None:
    """The images of a data set are as they are, and so are their crops."""
    compressed, others = photographs(tmp_path, 64, suffix="jpg"), photographs(tmp_path, 64, 65)
    again, once = with_crops(compressed, compression=COMPRESSION).crops, with_crops(compressed).crops
    assert again is not None
    assert once is not None
    assert not torch.equal(again, once)
    assert torch.equal(again[:, 0], crops_of(tmp_path / "64.jpg", COMPRESSION))
    left, plain = with_crops(others, compression=COMPRESSION).crops, with_crops(others).crops
    assert left is not None
    assert plain is not None
    assert torch.equal(left, plain)


def test_random_crops_follow_their_images(tmp_path: Path) -> None:
    plain = with_crops(photographs(tmp_path, 64, 90, 110, suffix="jpg"))
    found = with_random_crops(plain, 2, compression=COMPRESSION)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert found.crops is None
    assert found.paths is not None
    assert [path.stem for path in found.paths[::3]] == ["64", "90", "110"]
    assert torch.equal(found.images[::3], plain.images)
    generator = np.random.default_rng(0)
    for number, path in enumerate(plain.paths or ()):
        expected = crops_of(path, COMPRESSION, random_crops(2, generator))
        assert torch.equal(found.images[3 * number + 1 : 3 * number + 3], expected)


def test_random_crops_depend_on_the_seed_alone(tmp_path: Path) -> None:
    plain = photographs(tmp_path, 90, 110)
    first, again, other = (with_random_crops(plain, 1, seed=seed).images for seed in (-3, -3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert with_random_crops(plain, 0) is plain


def test_photographs_that_are_too_small_are_told_of(tmp_path: Path) -> None:
    mixed = photographs(tmp_path, 32, 90)
    assert len(with_random_crops(mixed, 3)) == 8
    for found in (with_crops(mixed), with_random_crops(mixed, 3)):
        assert found.notes == ("1 photograph is too small for crops, and stands in for them",)
    small = photographs(tmp_path, 31, 32)
    with pytest.raises(DataError, match=r"such as .*31.png, have too few pixels for crops of 32x32; pass `views` 1"):
        with_crops(small)
    with pytest.raises(DataError, match=r"have too few pixels for crops of 32x32; choose a smaller `image_size`"):
        with_random_crops(small, 1)


def test_uniform_photographs_are_not_taken_for_small_ones(tmp_path: Path) -> None:
    Image.new("RGB", (90, 90), "red").save(tmp_path / "red.png")
    images = read_images([tmp_path / "red.png"], channels=3, height=32, width=32).images
    red = ImageSet(images, torch.tensor([0]), ("ant",), "red", "train", (tmp_path / "red.png",))
    assert with_crops(red).notes == with_random_crops(red, 2).notes == ()


def test_a_file_that_is_gone_since_is_named(tmp_path: Path) -> None:
    plain = photographs(tmp_path, 90, 110)
    (tmp_path / "90.png").unlink()
    for again in (lambda: with_crops(plain), lambda: with_random_crops(plain, 1)):
        with pytest.raises(BadImagesError, match="bring back the files") as caught:
            again()
        assert [path.name for path, _ in caught.value.failures] == ["90.png"]


def test_images_without_files_have_none() -> None:
    images, labels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    drawn = ImageSet(images, labels, ("ant",), "drawn", "test")
    with pytest.raises(DataError, match=r"the images of drawn have no files.*pass `views` 1 or 2"):
        with_crops(drawn)
    with pytest.raises(DataError, match=r"the images of drawn have no files.*leave out `crops`"):
        with_random_crops(drawn, 1)
    with pytest.raises(DataError, match="crops must be of images of shape"):
        ImageSet(images, labels, ("ant",), "drawn", "test", crops=images)


def test_the_train_split_alone_is_loaded_with_crops(tmp_path: Path) -> None:
    """By the seed of the split, and compressed as the files are."""
    for split, sizes in (("train", (64, 90)), ("validation", (70,))):
        (tmp_path / split).mkdir()
        paths = [write(tmp_path / split / f"{size}.jpg", size) for size in sizes]
        (tmp_path / f"{split}.csv").write_text("".join(f"{split}/{path.name},0\n" for path in paths))
    config = DataConfig(dataset="cpen455", data_dir=str(tmp_path), crops=3, split_seed=5)
    plain = load_split(dataclasses.replace(config, crops=0), "train")
    expected = with_random_crops(plain, 3, seed=5, compression=COMPRESSIONS["cpen455"])
    assert torch.equal(load_split(config, "train").images, expected.images)
    assert len(load_split(config, "validation")) == 1
