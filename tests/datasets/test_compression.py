"""Photographs go through the compression of a model's training images: each once, and no file that did so already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cpixelcnn.datasets.compression import Compression
from cpixelcnn.datasets.reading import read_image
from cpixelcnn.datasets.user_images import UserBatch, iter_user_images, read_user_images

COMPRESSION = Compression(size=64, quality=75)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Slopes of colour with noise on them."""
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 3))
    slopes = np.linspace(0, 190, width)[None, :, None]
    return Image.fromarray((slopes + noise).astype(np.uint8)).convert(mode)


def batch(path: Path, compression: Compression | None, channels: int, size: tuple[int, int]) -> UserBatch:
    height, width = size
    (found,) = iter_user_images(
        [path], channels=channels, height=height, width=width, batch_size=4, compression=compression
    )
    assert found.failures == ()
    return found


def plain(path: Path, channels: int = 3, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return read_image(path, channels=channels, height=size[0], width=size[1])


def is_left_alone(path: Path, channels: int = 3, size: tuple[int, int] = (32, 32)) -> bool:
    found = batch(path, COMPRESSION, channels, size)
    same = torch.equal(found.images[0], plain(path, channels, size))
    assert found.compressed == (() if same else (path,))
    return same


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_file_that_is_compressed_so_is_left_alone(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    path = tmp_path / "a.jpg"
    picture(64, 64, mode).save(path, quality=75, **options)
    assert is_left_alone(path)
    assert is_left_alone(path, channels=1)


def test_rotation_by_exif_is_no_other_compression(tmp_path: Path) -> None:
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[0x0112] = 6
    picture(64, 64).save(path, quality=75, exif=exif)
    assert is_left_alone(path)


@pytest.mark.parametrize(
    ("width", "height", "name", "options"),
    [
        (64, 64, "a.png", {}),
        (64, 64, "a.jpg", {"quality": 90}),
        (64, 64, "a.jpg", {"quality": 75, "subsampling": 0}),
        (63, 64, "a.jpg", {"quality": 75}),
        (300, 200, "a.jpg", {"quality": 75}),
        (20, 50, "a.bmp", {}),
    ],
    ids=str,
)
@pytest.mark.parametrize(("channels", "size"), [(1, (32, 32)), (3, (32, 32)), (3, (16, 24))], ids=str)
def test_others_go_through_it_before_they_are_scaled(
    tmp_path: Path,
    width: int,
    height: int,
    name: str,
    options: dict[str, int],
    channels: int,
    size: tuple[int, int],
) -> None:
    path, again = tmp_path / name, tmp_path / "again.jpg"
    picture(width, height).save(path, **options)
    with Image.open(path) as image:
        square = ImageOps.fit(image.convert("RGB"), (64, 64), method=Image.Resampling.BILINEAR)
    square.save(again, quality=75)
    assert not is_left_alone(path, channels, size)
    assert torch.equal(batch(path, COMPRESSION, channels, size).images[0], plain(again, channels, size))
    assert torch.equal(batch(path, None, channels, size).images[0], plain(path, channels, size))
    height, width = size
    inputs = read_user_images(
        [path], classes=(), channels=channels, height=height, width=width, compression=COMPRESSION
    )
    assert torch.equal(inputs.images.images[0], plain(again, channels, size))
    assert inputs.images.notes == ("1 image compressed first, as the training images were: 64x64 JPEG of quality 75",)


def test_modes_of_other_files(tmp_path: Path) -> None:
    for mode, name in (("CMYK", "a.jpg"), ("LA", "a.png"), ("P", "a.gif"), ("I;16", "b.png")):
        path = tmp_path / name
        picture(64, 64, "L" if mode == "I;16" else "RGB").convert(mode).save(path, quality=75)
        assert not is_left_alone(path), mode


@pytest.mark.parametrize("size", [32, 64])
def test_an_image_of_the_models_size_is_taken_for_a_sample(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.png"
    picture(size, size).save(path)
    assert is_left_alone(path, size=(size, size))


def test_bad_files_are_told_of_as_ever(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff no more")
    (found,) = iter_user_images([tmp_path], channels=3, height=32, width=32, batch_size=4, compression=COMPRESSION)
    assert [path.name for path, _ in found.failures] == ["a.jpg"]
