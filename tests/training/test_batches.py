"""Augmentation: each image's own pixels, moved or mirrored, as its number on the clock has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cpixelcnn.config import TrainConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.training import batches as feeding
from cpixelcnn.training.batches import Batch, BatchSource, augmented

CPU = torch.device("cpu")


def image(height: int, width: int) -> Tensor:
    """Channels that tell row, column and channel of every pixel."""
    rows = torch.arange(height)[:, None].expand(height, width)
    columns = torch.arange(width).expand(height, width)
    return torch.stack([rows, columns, rows * 16 + columns]).byte()


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(0, 15), st.booleans(), st.integers(0, 9), st.integers(0, 10**9)
)
def test_every_result_is_a_shift_and_perhaps_a_mirror_image(
    height: int, width: int, shift: int, flip: bool, seed: int, first: int
) -> None:
    options = TrainConfig(shift=shift, horizontal_flip=flip, seed=seed)
    images = image(height, width).expand(5, -1, -1, -1)
    result = augmented(Batch(images, torch.zeros(5, dtype=torch.int64), first), options)
    assert (result.shape, result.dtype) == (images.shape, torch.uint8)
    for moved in result:
        rows, columns = moved[0][:, 0].int(), moved[1][0].int()
        assert torch.equal(moved[0].int(), rows[:, None].expand(height, width))
        assert torch.equal(moved[1].int(), columns.expand(height, width))
        assert torch.equal(moved[2].int(), rows[:, None] * 16 + columns)
        downs = {d for d in range(-shift, shift + 1) if rows.tolist() == _shifted(range(height), d)}
        straight = {d for d in range(-shift, shift + 1) if columns.tolist() == _shifted(range(width), d)}
        mirrored = {d for d in range(-shift, shift + 1) if columns.tolist() == _shifted(range(width)[::-1], d)}
        assert downs
        assert straight or (flip and mirrored)


def _shifted(places: range, by: int) -> list[int]:
    return [min(max(place + by, 0), len(places) - 1) for place in places]


def test_all_shifts_occur_about_equally_often_and_independently_of_the_mirror() -> None:
    n = 20_000
    images = image(8, 8).expand(n, -1, -1, -1)
    labels = torch.zeros(n, dtype=torch.int64)
    result = augmented(Batch(images, labels, 0), TrainConfig(shift=1, horizontal_flip=True))
    middles = result[:, :2, 4, 4]  # row and column that came to the centre
    kinds, counts = torch.unique(middles, dim=0, return_counts=True)
    # Rows 3, 4, 5; columns 3, 4, 5 of the image, or 2, 3, 4 of its mirror image (where 4 is at 3).
    assert len(kinds) == 3 * 4
    frequencies = {tuple(kind.tolist()): int(count) / n for kind, count in zip(kinds, counts, strict=True)}
    for (_, column), frequency in frequencies.items():
        assert frequency == pytest.approx(1 / 3 * (1 / 3 if column in (3, 4) else 1 / 6), abs=0.01)


def test_nothing_asked_for_is_nothing_done() -> None:
    images = torch.randint(0, 256, (4, 3, 5, 7), dtype=torch.uint8)
    batch = Batch(images, torch.zeros(4, dtype=torch.int64), 17)
    assert augmented(batch, TrainConfig()) is images


def test_a_share_of_the_images_is_turned_and_told_how() -> None:
    n = 20_000
    images = ImageSet(image(8, 8).expand(n, -1, -1, -1), torch.zeros(n, dtype=torch.int64), ("cat",), "cats", "train")
    batch = BatchSource(images, TrainConfig(turned_share=0.6), CPU, nr_orientations=4).batch(torch.arange(n), 0)
    assert batch.orientations is not None
    for k in range(4):
        its = batch.images[batch.orientations == k]
        assert len(its) / n == pytest.approx(0.2 if k else 0.4, abs=0.01)
        assert torch.equal(its, image(8, 8).rot90(k, (1, 2)).expand_as(its))


def test_images_are_turned_where_the_model_is_told_only(make_images: Callable[..., ImageSet]) -> None:
    images = make_images(20)
    upright = BatchSource(images, TrainConfig(), CPU).batch(torch.arange(20), 0)
    assert upright.orientations is None
    assert torch.equal(upright.images, images.images)
    none_turned = BatchSource(images, TrainConfig(turned_share=0.0), CPU, nr_orientations=4).batch(torch.arange(20), 0)
    assert none_turned.orientations is not None
    assert none_turned.orientations.tolist() == [0] * 20
    assert torch.equal(none_turned.images, images.images)


@pytest.mark.parametrize("nr_orientations", [1, 4])
def test_an_image_is_treated_by_its_number_whatever_its_batch(
    make_images: Callable[..., ImageSet], nr_orientations: int
) -> None:
    images = make_images(20)
    feed = BatchSource(images, TrainConfig(shift=2, horizontal_flip=True, seed=4), CPU, nr_orientations)
    whole = feed.batch(torch.arange(20), 100)
    parts = [feed.batch(torch.arange(start, stop), 100 + start) for start, stop in ((0, 3), (3, 4), (4, 20))]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
    assert torch.cat([part.numbers for part in parts]).tolist() == list(range(100, 120))
    assert not torch.equal(feed.batch(torch.arange(20), 120).images, whole.images)


def test_large_sets_are_fed_batch_by_batch(
    make_images: Callable[..., ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_images(6)
    meta = torch.device("meta")
    assert BatchSource(images, TrainConfig(), meta).images.device == meta
    monkeypatch.setattr(feeding, "LARGEST_ON_DEVICE", images.images.nbytes - 1)
    feed = BatchSource(images, TrainConfig(), meta)
    assert feed.images.device == CPU
    assert feed.batch(torch.arange(2), 0).images.device == meta


def test_the_training_set_is_not_changed(fit: Callable[..., Any], train_set: ImageSet, tmp_path: Path) -> None:
    copy = dataclasses.replace(train_set, images=train_set.images.clone())
    fit(tmp_path / "run", epochs=1, shift=3)
    assert torch.equal(train_set.images, copy.images)
