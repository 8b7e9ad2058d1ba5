"""KID, precision, recall, density and coverage: the values of torch-fidelity, and what they are for known sets."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.errors import DataError
from cpixelcnn.fid.kernel import kernel_distance
from cpixelcnn.fid.neighbours import neighbour_scores


def features(count: int, seed: int, shift: float = 0.0, dims: int = 12) -> Tensor:
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed)) + shift


def oracle(module: str) -> Any:
    """A module of torch-fidelity; where it is missing the test is skipped, but fails in CI."""
    try:
        return importlib.import_module(f"torch_fidelity.{module}")
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("torch-fidelity is not installed")


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_kernel_distance_is_that_of_torch_fidelity(shift: float) -> None:
    x, y = features(80, 0, shift), features(120, 1)
    theirs = oracle("metric_kid").kid_features_to_metric(
        x.double(), y.double(), kid_subsets=20, kid_subset_size=50, verbose=False
    )
    ours = kernel_distance(x, y, n_subsets=20, subset_size=50)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.spread == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)
    assert ours.stderr == pytest.approx(ours.spread / 20**0.5)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_precision_and_recall_are_those_of_torch_fidelity(shift: float) -> None:
    x, y = features(80, 0, shift), features(120, 1)
    theirs = oracle("metric_prc").prc_features_to_metric(x, y, verbose=False)
    ours = neighbour_scores(x, y)
    assert 0 < ours.precision < 1
    assert (ours.precision, ours.recall) == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


def test_subsets_are_as_large_as_there_are_images() -> None:
    ours = kernel_distance(features(9, 0), features(30, 1), n_subsets=5)
    assert (ours.subset_size, ours.n_subsets) == (9, 5)


def test_a_set_against_itself_and_against_one_far_away() -> None:
    x = features(40, 0)
    same, far = neighbour_scores(x, x), neighbour_scores(x + 100, x)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_one_sample_repeated_is_precise_and_covers_little() -> None:
    y = features(60, 1)
    scores = neighbour_scores(y[:1].repeat(30, 1), y)
    assert scores.precision == 1
    assert scores.recall < 0.1
    assert scores.coverage < 0.3


def test_too_few_images() -> None:
    with pytest.raises(DataError, match="at least 2 images"):
        kernel_distance(features(1, 0), features(9, 1))
    with pytest.raises(DataError, match="more than 3 images"):
        neighbour_scores(features(3, 0), features(9, 1))
