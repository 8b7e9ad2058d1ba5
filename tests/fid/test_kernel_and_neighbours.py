"""KID, precision, recall, density and coverage: the values of torch-fidelity, and what they are for known sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cpixelcnn.errors import DataError
from cpixelcnn.fid import kernel, neighbours
from cpixelcnn.fid.kernel import kernel_distance
from cpixelcnn.fid.neighbours import neighbour_scores


def features(count: int, seed: int, shift: float = 0.0, dims: int = 12) -> Tensor:
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.fixture
def oracle(optional_module: Callable[[str], Any]) -> Callable[[str], Any]:
    """A module of torch-fidelity."""
    return lambda name: optional_module(f"torch_fidelity.{name}")


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_kernel_distance_is_that_of_torch_fidelity(oracle: Callable[[str], Any], shift: float) -> None:
    x, y = features(80, 0, shift), features(120, 1)
    theirs = oracle("metric_kid").kid_features_to_metric(
        x.double(), y.double(), kid_subsets=20, kid_subset_size=50, verbose=False
    )
    ours = kernel_distance(x, y, n_subsets=20, subset_size=50)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.spread == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_precision_and_recall_are_those_of_torch_fidelity(oracle: Callable[[str], Any], shift: float) -> None:
    x, y = features(80, 0, shift), features(120, 1)
    theirs = oracle("metric_prc").prc_features_to_metric(x, y, verbose=False)
    ours = neighbour_scores(x, y)
    assert 0 < ours.precision < 1
    assert (ours.precision, ours.recall) == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


@pytest.mark.parametrize(("shift", "tolerance"), [(0.0, 0.6), (1.0, 0.25)])
def test_the_standard_error_is_what_other_images_would_change(shift: float, tolerance: float) -> None:
    """For equal distributions the jackknife is on the safe side, as is known of it; never too small by much."""
    found = [
        kernel_distance(features(40, 2 * seed, shift, 6), features(60, 2 * seed + 1, dims=6), n_subsets=20)
        for seed in range(60)
    ]
    actual = float(np.std([distance.value for distance in found]))
    told = float(np.mean([distance.stderr or 0.0 for distance in found]))
    assert actual * (1 - tolerance / 2) < told < actual * (1 + tolerance)


def test_the_standard_error_of_very_many_images_comes_from_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(300, 0, 1.0), features(400, 1)
    exact = kernel_distance(x, y, n_subsets=2).stderr
    monkeypatch.setattr(kernel, "JACKKNIFE_SIZE", 150)
    assert kernel_distance(x, y, n_subsets=2).stderr == pytest.approx(exact, rel=0.3)


def test_two_images_have_no_standard_error() -> None:
    assert kernel_distance(features(2, 0), features(9, 1)).stderr is None


def test_rows_that_do_not_fit_the_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(80, 0, 0.7), features(120, 1)
    whole = neighbour_scores(x, y)
    monkeypatch.setattr(neighbours, "ROWS", 33)
    assert neighbour_scores(x, y) == whole


def test_density_and_coverage_by_their_definition() -> None:
    """Naeem et al. 2020, eqs. 8 and 10, image by image."""
    x, y = features(12, 0, 0.3, 3).double(), features(15, 1, dims=3).double()
    reach = [sorted((y - centre).norm(dim=1).tolist())[3] for centre in y]
    inside = [[bool((sample - centre).norm() <= r) for centre, r in zip(y, reach, strict=True)] for sample in x]
    scores = neighbour_scores(x, y)
    assert scores.density == pytest.approx(sum(map(sum, inside)) / (3 * 12))
    assert scores.coverage == pytest.approx(sum(any(row[j] for row in inside) for j in range(15)) / 15)


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
