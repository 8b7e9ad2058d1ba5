"""Splits drawn from the training images: disjoint, complete, repeatable, and said."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.splits import draw_split
from cpixelcnn.errors import ConfigError, DataError


@given(st.lists(st.integers(5, 40), min_size=1, max_size=4), st.floats(0.05, 0.3), st.integers(0, 1000))
def test_the_parts_are_a_partition_with_every_class(sizes: list[int], fraction: float, seed: int) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    config = DataConfig(validation_fraction=fraction, split_seed=seed)
    parts = {
        split: draw_split(labels, split, ("validation", "test"), config, "somewhere").indices
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
    assert draw_split(labels, "validation", ("validation",), config, "train.csv").origin == (
        "drawn from train.csv (0.25 of each class, seed 7)"
    )
    assert draw_split(labels, "train", ("validation",), config, "train.csv").origin == (
        "train.csv without validation, drawn from it (0.25 of each class, seed 7)"
    )
    assert draw_split(labels, "train", (), config, "train.csv").origin == "train.csv"


@pytest.mark.parametrize("fraction", [0.5, 0.49, 0.9])
def test_a_fraction_that_leaves_nothing_to_train_on(fraction: float) -> None:
    with pytest.raises(ConfigError, match="--validation-fraction"):
        draw_split(torch.arange(8) % 2, "train", ("validation", "test"), DataConfig(validation_fraction=fraction), "x")


def test_too_few_images() -> None:
    with pytest.raises(DataError, match="x has too few images to draw validation"):
        draw_split(torch.arange(3), "validation", ("validation",), DataConfig(), "x")
