"""Images are stored as the training images of a model were: each once, and those that are so not again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cpixelcnn.datasets.decoding import read_image
from cpixelcnn.datasets.storage import STORAGES, Storage
from cpixelcnn.datasets.user_images import iter_user_images

STORAGE = Storage(size=64, quality=75)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Slopes of colour with noise on them."""
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 3))
    slopes = np.linspace(0, 190, width)[None, :, None]
    return Image.fromarray((slopes + noise).astype(np.uint8)).convert(mode)


def read(path: Path, storage: Storage | None, size: int = 32, channels: int = 3) -> torch.Tensor:
    (batch,) = iter_user_images([path], channels=channels, height=size, width=size, batch_size=4, storage=storage)
    assert batch.failures == ()
    return batch.images[0]


def plain(path: Path, size: int = 32, channels: int = 3) -> torch.Tensor:
    return read_image(path, channels=channels, height=size, width=size)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_is_stored_so_stays_as_it_is(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.jpg"
    picture(64, 64, mode).save(path, quality=75)
    with Image.open(path) as image:
        assert STORAGE.holds(image)
    assert torch.equal(read(path, STORAGE), plain(path))


@pytest.mark.parametrize(
    ("width", "height", "name", "options"),
    [
        (64, 64, "a.png", {}),
        (64, 64, "a.jpg", {"quality": 90}),
        (63, 64, "a.jpg", {"quality": 75}),
        (300, 200, "a.jpg", {"quality": 75}),
        (20, 50, "a.bmp", {}),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_others_are_stored_so_before_they_are_scaled(
    tmp_path: Path, width: int, height: int, name: str, options: dict[str, int], channels: int
) -> None:
    path, again = tmp_path / name, tmp_path / "again.jpg"
    picture(width, height).save(path, **options)
    with Image.open(path) as image:
        assert not STORAGE.holds(image)
        square = ImageOps.fit(image.convert("RGB"), (64, 64), method=Image.Resampling.BILINEAR)
    square.save(again, quality=75)
    found = read(path, STORAGE, channels=channels)
    assert torch.equal(found, plain(again, channels=channels))
    assert not torch.equal(found, plain(path, channels=channels))
    assert torch.equal(read(path, None, channels=channels), plain(path, channels=channels))


def test_an_image_of_the_models_size_is_no_photograph_to_be_scaled(tmp_path: Path) -> None:
    """Such as samples, which are pixels of the model."""
    path = tmp_path / "a.png"
    picture(32, 32).save(path)
    assert torch.equal(read(path, STORAGE), plain(path))


def test_bad_files_are_told_of_as_ever(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff no more")
    (batch,) = iter_user_images([tmp_path], channels=3, height=32, width=32, batch_size=4, storage=STORAGE)
    assert [path.name for path, _ in batch.failures] == ["a.jpg"]


def test_of_the_data_sets(tmp_path: Path) -> None:
    """As `file` tells of the course's images: JPEG of 64x64; with the tables of quality 75."""
    assert STORAGES == {"cpen455": STORAGE}
    assert str(STORAGE) == "64x64 JPEG of quality 75"
