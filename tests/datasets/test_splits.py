"""Splits held out from the training images: disjoint, complete, repeatable, and said."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.splits import balanced_subset, derive_split, stratified_split
from cpixelcnn.errors import ConfigError, DataError


@given(st.lists(st.integers(5, 40), min_size=1, max_size=4), st.floats(0.05, 0.3), st.integers(0, 1000))
def test_the_parts_are_a_partition_with_every_class(sizes: list[int], fraction: float, seed: int) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    config = DataConfig(validation_fraction=fraction, split_seed=seed)
    parts = {
        split: derive_split(labels, split, ("validation", "test"), config, "somewhere").indices
        for split in ("train", "validation", "test")
    }
    assert torch.cat(list(parts.values())).sort().values.tolist() == list(range(len(labels)))
    for indices in parts.values():
        assert set(labels[indices].tolist()) == set(range(len(sizes)))
    for label, size in enumerate(sizes):
        for split in ("validation", "test"):
            assert abs(int((labels[parts[split]] == label).sum()) - fraction * size) <= 1.5


def test_the_origin_says_how() -> None:
    config = DataConfig(validation_fraction=0.25, split_seed=7)
    labels = torch.arange(16) % 2
    assert derive_split(labels, "validation", ("validation",), config, "train.csv").origin == (
        "held out from train.csv (0.25 of each class, seed 7)"
    )
    assert derive_split(labels, "train", ("validation",), config, "train.csv").origin == (
        "train.csv without validation, held out from it (0.25 of each class, seed 7)"
    )
    assert derive_split(labels, "train", (), config, "train.csv").origin == "train.csv"


@pytest.mark.parametrize("fraction", [0.5, 0.49, 0.9])
def test_a_fraction_that_leaves_nothing_to_train_on(fraction: float) -> None:
    with pytest.raises(ConfigError, match="`validation_fraction`"):
        derive_split(
            torch.arange(8) % 2, "train", ("validation", "test"), DataConfig(validation_fraction=fraction), "x"
        )


def test_too_few_images() -> None:
    with pytest.raises(DataError, match="x has too few images to hold out validation"):
        derive_split(torch.arange(3), "validation", ("validation",), DataConfig(), "x")


label_lists = st.lists(st.integers(-1, 5), max_size=60).map(lambda values: torch.tensor(values, dtype=torch.int64))
fractions = st.floats(0.01, 0.99)


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
