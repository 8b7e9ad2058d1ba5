"""Crops of photographs: what they show, through which compression, and which photographs have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cpixelcnn.datasets.compression import Compression
from cpixelcnn.datasets.crops import CORNERS, SMALLEST_PART, Crop, random_crops
from cpixelcnn.datasets.decoding import attempt_image
from cpixelcnn.datasets.user_images import iter_user_images

COMPRESSION = Compression(size=64, quality=75)


def photograph(path: Path, width: int, height: int) -> Path:
    """Smooth in both directions, so that it matters little which filter scales it."""
    rows, columns = np.linspace(0, 200, height)[:, None], np.linspace(50, 255, width)[None]
    pixels = np.stack([rows + 0 * columns, columns + 0 * rows, (rows + columns) / 2], axis=2)
    Image.fromarray(pixels.round().astype(np.uint8)).save(path, quality=75)
    return path


def read(path: Path, compression: Compression | None = None, crops: tuple[Crop, ...] = CORNERS) -> list[torch.Tensor]:
    """The image and its crops."""
    attempt = attempt_image(path, channels=3, height=32, width=32, compression=compression, crops=crops)
    assert attempt.image is not None, attempt.reason
    return [attempt.image, *attempt.crops]


def test_corners_are_in_the_order_of_reading() -> None:
    boxes = torch.tensor([crop.box((200, 100), (100, 50)) for crop in CORNERS])
    expected = [(0.0, 0, 180, 90), (20, 0, 200, 90), (0, 10, 180, 100), (20, 10, 200, 100)]
    torch.testing.assert_close(boxes, torch.tensor(expected))


@given(
    crop=st.builds(Crop, st.floats(0.01, 1.0), st.floats(0, 1), st.floats(0, 1)),
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    shape=st.tuples(st.integers(1, 64), st.integers(1, 64)),
)
def test_every_crop_lies_in_the_image_and_has_the_wanted_shape(
    crop: Crop, size: tuple[int, int], shape: tuple[int, int]
) -> None:
    left, top, right, bottom = crop.box(size, shape)
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    assert (right - left) * shape[1] == pytest.approx((bottom - top) * shape[0])


@pytest.mark.parametrize(
    ("size", "box"), [((300, 200), (50, 0, 250, 200)), ((200, 260), (0, 30, 200, 230)), ((32, 32), (0, 0, 32, 32))]
)
def test_the_whole_is_the_centre_of_the_wanted_shape(size: tuple[int, int], box: tuple[float, ...]) -> None:
    assert Crop(1.0, 0.3, 0.7).box(size, (32, 32)) == pytest.approx(box)


@pytest.mark.parametrize("size", [(200, 200), (300, 200), (200, 260)])
@pytest.mark.parametrize("compression", [None, COMPRESSION])
def test_each_is_that_part_of_the_photograph(
    tmp_path: Path, size: tuple[int, int], compression: Compression | None
) -> None:
    path, cut = photograph(tmp_path / "a.png", *size), tmp_path / "cut.png"
    image, *found = read(path, compression)
    assert len(found) == len(CORNERS)
    for crop, corner in zip(CORNERS, found, strict=True):
        with Image.open(path) as opened:
            opened.crop(tuple(map(round, crop.box(size, (32, 32))))).save(cut)
        assert (corner.int() - read(cut, compression)[0].int()).abs().max() <= 4
        assert (corner.int() - image.int()).abs().max() > 8


def test_a_file_that_was_compressed_so_has_crops_that_are_compressed_again(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.jpg", 64, 64)
    (image, *found), (as_it_is, *plain) = read(path, COMPRESSION), read(path)
    assert torch.equal(image, as_it_is)
    assert not any(torch.equal(one, other) for one, other in zip(found, plain, strict=True))


@pytest.mark.parametrize(("size", "own"), [(16, False), (32, False), (35, False), (36, True)])
def test_a_photograph_that_is_too_small_for_a_crop_stands_in_for_it(tmp_path: Path, size: int, own: bool) -> None:
    path = photograph(tmp_path / "a.png", size, size)
    image, *found = read(path, COMPRESSION)
    assert [not torch.equal(image, crop) for crop in found] == [own] * 4
    batch = next(iter_user_images([path], channels=3, height=32, width=32, batch_size=1, crops=CORNERS))
    assert batch.uncut == (() if own else (path,))


def test_files_that_were_not_compressed_so_may_be_left_as_they_are(tmp_path: Path) -> None:
    paths = [photograph(tmp_path / name, 64, 64) for name in ("a.png", "b.jpg")]
    for path, same in zip(paths, (True, False), strict=True):
        found = [
            attempt_image(path, channels=3, height=32, width=32, compression=each, as_is=True, crops=CORNERS)
            for each in (COMPRESSION, None)
        ]
        assert found[0].image is not None
        assert found[1].image is not None
        assert torch.equal(found[0].image, found[1].image)
        assert torch.equal(torch.stack(found[0].crops), torch.stack(found[1].crops)) == same


def test_crops_of_files_of_the_size_of_the_compression_are_sharp(tmp_path: Path) -> None:
    """They are enlarged, by a filter that blurs less than the bilinear one."""
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8))
    spots = grey.resize((64, 64)).convert("RGB")
    crop = CORNERS[3]
    found = np.asarray(Compression(size=64, quality=95).apply(spots, crop)).astype(float)
    box = crop.box(spots.size, spots.size)
    errors = {}
    for filter_ in (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        errors[filter_.name] = np.abs(found - np.asarray(spots.resize((64, 64), filter_, box=box))).mean()
    assert min(errors, key=lambda name: errors[name]) == "BICUBIC"


def test_grey_crops(tmp_path: Path) -> None:
    attempt = attempt_image(photograph(tmp_path / "a.png", 50, 40), channels=1, height=16, width=20, crops=CORNERS[1:])
    assert [crop.shape for crop in attempt.crops] == [(1, 16, 20)] * 3


def test_a_users_images_come_with_the_crops_that_are_wanted(tmp_path: Path) -> None:
    paths = [photograph(tmp_path / f"{size}.png", size, size) for size in (90, 100, 110)]
    (tmp_path / "broken.png").write_bytes(b"no image")
    options: dict[str, Any] = {"channels": 3, "height": 32, "width": 32, "batch_size": 2}
    batches = list(iter_user_images([tmp_path], crops=CORNERS, **options))
    assert [len(batch.images) for batch in batches] == [2, 1]
    for batch in batches:
        assert batch.crops is not None
        for number, path in enumerate(batch.paths):
            assert torch.equal(batch.crops[:, number], torch.stack(read(path)[1:]))
    without = next(iter_user_images(paths, **options)).crops
    assert without is not None
    assert without.shape == (0, 2, 3, 32, 32)


def test_random_crops_reach_everywhere() -> None:
    crops = random_crops(2000, np.random.default_rng(0))
    for values, low in (
        ([crop.part for crop in crops], SMALLEST_PART),
        ([crop.x for crop in crops], 0.0),
        ([crop.y for crop in crops], 0.0),
    ):
        assert low <= min(values) < low + 0.01
        assert 0.99 < max(values) <= 1.0
        assert np.mean(values) == pytest.approx((low + 1) / 2, abs=0.03)
    assert abs(np.corrcoef([crop.x for crop in crops], [crop.y for crop in crops])[0, 1]) < 0.1
