"""The order of an epoch: a permutation, or draws with the classes equally frequent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.errors import DataError
from cpixelcnn.training.batches import epoch_permutation

label_lists = st.lists(st.integers(0, 3), min_size=1, max_size=60)


@given(label_lists, st.integers(0, 99), st.integers(0, 99))
def test_every_image_once(labels: list[int], seed: int, epoch: int) -> None:
    order = epoch_permutation(torch.tensor(labels), seed, epoch)
    assert sorted(order.tolist()) == list(range(len(labels)))


@given(label_lists, st.integers(0, 99), st.integers(0, 99))
def test_balanced_classes_are_equally_frequent(labels: list[int], seed: int, epoch: int) -> None:
    order = epoch_permutation(torch.tensor(labels), seed, epoch, balanced=True)
    assert len(order) == len(labels)
    drawn = torch.tensor(labels)[order]
    counts = [int((drawn == label).sum()) for label in set(labels)]
    assert max(counts) - min(counts) <= 1
    for label in set(labels):  # within a class the images are equally frequent, too
        members = [index for index in order.tolist() if labels[index] == label]
        occurrences = [members.count(index) for index in range(len(labels)) if labels[index] == label]
        assert max(occurrences) - min(occurrences) <= 1


@pytest.mark.parametrize("balanced", [False, True])
def test_a_function_of_seed_and_epoch(balanced: bool) -> None:
    labels = torch.tensor([0] * 30 + [1] * 10)
    orders = {
        (seed, epoch): tuple(epoch_permutation(labels, seed, epoch, balanced=balanced).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    torch.manual_seed(99)
    assert tuple(epoch_permutation(labels, 2, 1, balanced=balanced).tolist()) == orders[2, 1]


def test_over_many_epochs_every_image_of_a_class_is_as_likely() -> None:
    labels = torch.tensor([0] * 18 + [1] * 2)
    counts = torch.zeros(20)
    for epoch in range(400):
        counts += torch.bincount(epoch_permutation(labels, 0, epoch, balanced=True), minlength=20)
    assert counts[labels == 1].tolist() == [2000, 2000]
    assert counts[labels == 0].mean() == pytest.approx(4000 / 18)
    assert counts[labels == 0].std() < 20  # of a hypergeometric draw: about 10


def test_a_training_draws_the_classes_equally_often(
    fit: Callable[..., Any], train_set: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uneven = train_set.select(torch.tensor([*range(0, 20, 2), 1, 3]))  # ten cats and two dogs
    from cpixelcnn.training.batches import BatchSource

    seen: list[int] = []
    original = BatchSource.batch

    def spy(feed: BatchSource, indices: torch.Tensor, first: int) -> Any:
        batch = original(feed, indices, first)
        seen.extend(batch.labels.tolist())
        return batch

    monkeypatch.setattr(BatchSource, "batch", spy)
    fit(tmp_path / "run", epochs=2, images=uneven, balanced=True)
    assert [sum(seen[:12]), sum(seen[12:])] == [6, 6]


def test_it_needs_labels(fit: Callable[..., Any], make_images: Callable[..., ImageSet], tmp_path: Path) -> None:
    unconditional: dict[str, Any] = {"early_fusion": "none", "film": "none", "classes": (), "class_counts": ()}
    images = make_images(20, labelled=False)
    assert set(images.labels.tolist()) == {UNLABELLED}
    with pytest.raises(DataError, match="`balanced` needs them"):
        fit(tmp_path / "run", images=images, balanced=True, **unconditional)
    assert not (tmp_path / "run").exists()
