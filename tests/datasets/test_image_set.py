"""Image sets, and the divisions of indices that splits and subsets are made of."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet, balanced_subset, stratified_split
from cpixelcnn.errors import DataError

label_lists = st.lists(st.integers(-1, 5), max_size=60).map(lambda values: torch.tensor(values, dtype=torch.int64))
fractions = st.floats(0.01, 0.99)


def image_set(labels: list[int]) -> ImageSet:
    images = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    return ImageSet(images, torch.tensor(labels), ("a", "b", "c"), "some", "train")


def test_counts_and_labelled() -> None:
    assert image_set([0, 2, 2]).class_counts == (1, 0, 2)
    assert image_set([0, 2, 2]).labelled
    assert not image_set([0, UNLABELLED]).labelled
    assert image_set([0, UNLABELLED]).class_counts == (1, 0, 0)


def test_missing_labels_are_refused_where_they_are_needed() -> None:
    image_set([0, 1]).require_labels("training")
    with pytest.raises(DataError, match=r"1 of the 2 images of some \(train\) have no label, and training needs them"):
        image_set([0, UNLABELLED]).require_labels("training")


def test_select_keeps_everything_together() -> None:
    chosen = image_set([0, 1, 2]).select(torch.tensor([2, 0]))
    assert chosen.labels.tolist() == [2, 0] and chosen.images[:, 0, 0, 0].tolist() == [2, 0]


@given(label_lists, fractions, st.integers(0, 2**31))
def test_a_split_is_a_partition_by_class(labels: torch.Tensor, fraction: float, seed: int) -> None:
    larger, smaller = stratified_split(labels, fraction, seed)
    assert sorted(larger.tolist() + smaller.tolist()) == list(range(len(labels)))
    assert larger.tolist() == sorted(larger.tolist()) and smaller.tolist() == sorted(smaller.tolist())
    for label in set(labels.tolist()):
        size = int((labels == label).sum())
        held_out = int((labels[smaller] == label).sum())
        assert abs(held_out - fraction * size) <= 1
        assert held_out >= (1 if size > 1 else 0)


@given(label_lists, fractions, st.integers(0, 2**31))
def test_a_split_depends_on_its_seed_alone(labels: torch.Tensor, fraction: float, seed: int) -> None:
    first = stratified_split(labels, fraction, seed)
    torch.manual_seed(1)
    torch.rand(3)
    second = stratified_split(labels, fraction, seed)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_another_seed_is_another_split() -> None:
    labels = torch.arange(100) % 2
    assert not torch.equal(stratified_split(labels, 0.5, 0)[1], stratified_split(labels, 0.5, 1)[1])


@given(label_lists, st.integers(0, 70))
def test_a_balanced_subset_is_as_even_as_can_be(labels: torch.Tensor, count: int) -> None:
    chosen = balanced_subset(labels, count).tolist()
    assert len(chosen) == min(count, len(labels)) and chosen == sorted(set(chosen))
    taken = {label: sum(int(labels[i]) == label for i in chosen) for label in set(labels.tolist())}
    most = max(taken.values(), default=0)
    for label, number in taken.items():
        members = torch.nonzero(labels == label)[:, 0].tolist()
        assert [i for i in chosen if int(labels[i]) == label] == members[:number]
        assert number >= most - 1 or number == len(members)
