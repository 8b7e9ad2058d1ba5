"""The Frechet distance against dense references and pytorch-fid, and files of statistics that must be refused."""

from __future__ import annotations

import io
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor

from cpixelcnn.errors import DataError
from cpixelcnn.fid.frechet import GaussianStatistics, frechet_distance, load_statistics, save_statistics

Matrix = NDArray[np.float64]


def random_features(count: int, dims: int, seed: int) -> Tensor:
    """Correlated, off-centre and badly scaled, as a network's features are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dims, dims, generator=generator) * torch.logspace(-2, 1, dims)
    return torch.randn(count, dims, generator=generator) @ mixing + 3 * torch.rand(dims, generator=generator)


def fitted(count: int, dims: int, seed: int) -> GaussianStatistics:
    return GaussianStatistics.from_features(random_features(count, dims, seed))


def by_square_root(a: Tensor, b: Tensor) -> float:
    """The definition, with a dense matrix square root."""
    x, y = a.double().numpy(), b.double().numpy()
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", linalg.LinAlgWarning)  # "matrix is singular", which is the point of few images
        root = linalg.sqrtm(s @ t)
    difference = x.mean(axis=0) - y.mean(axis=0)
    return float(difference @ difference + np.trace(s) + np.trace(t) - 2 * np.trace(root).real)


@pytest.mark.parametrize(("count_a", "count_b", "dims"), [(50, 70, 8), (200, 300, 64), (12, 300, 32), (2, 9, 16)])
def test_equals_the_definition(count_a: int, count_b: int, dims: int) -> None:
    a, b = random_features(count_a, dims, 1), random_features(count_b, dims, 2)
    distance = frechet_distance(GaussianStatistics.from_features(a), GaussianStatistics.from_features(b))
    # The matrix square root of a product is the less exact of the two: it loses half of small eigenvalues' digits.
    assert distance == pytest.approx(by_square_root(a, b), rel=1e-4 if min(count_a, count_b) <= dims else 1e-7)


def test_is_exact_where_the_answer_is_known() -> None:
    """Axis-aligned Gaussians:  sum over axes of (mu_a - mu_b)^2 + (sigma_a - sigma_b)^2."""
    sigma_a, sigma_b = np.logspace(-6, 3, 40), np.logspace(2, -5, 40)
    rotation = np.linalg.qr(random_features(40, 40, 0).double().numpy())[0]
    a = GaussianStatistics(np.zeros(40), sigma_a[:, None] * rotation)
    b = GaussianStatistics(np.ones(40), sigma_b[:, None] * rotation)
    assert frechet_distance(a, b) == pytest.approx(40 + np.square(sigma_a - sigma_b).sum(), rel=1e-12)


def test_by_hand_in_one_dimension() -> None:
    """(mu_a - mu_b)^2 + (sigma_a - sigma_b)^2."""
    a = GaussianStatistics.from_features(torch.tensor([[-1.0], [1.0]]))  # mean 0, variance 2
    b = GaussianStatistics.from_features(torch.tensor([[1.0], [3.0], [5.0]]))  # mean 3, variance 4
    assert frechet_distance(a, b) == pytest.approx(9 + (math.sqrt(2) - 2) ** 2)


@pytest.mark.parametrize("dims", [8, 64])
def test_agrees_with_pytorch_fid(
    optional_module: Callable[[str], Any], lacking: Callable[[str], NoReturn], dims: int
) -> None:
    calculate_frechet_distance = optional_module("pytorch_fid.fid_score").calculate_frechet_distance
    a, b = fitted(3 * dims, dims, 3), fitted(5 * dims, dims, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytorch-fid calls sqrtm(disp=False)
        try:
            theirs = calculate_frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
        except TypeError:
            lacking("a SciPy that still has the argument that pytorch-fid uses")
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-7)


@pytest.mark.parametrize(("count", "dims"), [(10, 64), (64, 64), (300, 64), (2, 8)])
def test_a_set_against_itself_is_zero(count: int, dims: int) -> None:
    features = random_features(count, dims, 5)
    statistics = GaussianStatistics.from_features(features)
    shuffled = GaussianStatistics.from_features(features[torch.randperm(count)])
    moments = GaussianStatistics.from_moments(statistics.mean, statistics.covariance)
    assert frechet_distance(statistics, statistics) < 1e-10 * statistics.trace
    assert frechet_distance(statistics, shuffled) < 1e-10 * statistics.trace
    assert frechet_distance(statistics, moments) < 1e-6 * statistics.trace


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 20), st.integers(0, 1000))
def test_properties(count_a: int, count_b: int, dims: int, seed: int) -> None:
    a, b = random_features(count_a, dims, seed), random_features(count_b, dims, seed + 1)
    first, second = GaussianStatistics.from_features(a), GaussianStatistics.from_features(b)
    distance = frechet_distance(first, second)
    assert math.isfinite(distance) and distance >= 0
    close = pytest.approx(distance, rel=1e-9, abs=1e-9)
    assert frechet_distance(second, first) == close
    assert frechet_distance(GaussianStatistics.from_features(a.flip(0)), second) == close
    assert frechet_distance(GaussianStatistics.from_features(a + 7), GaussianStatistics.from_features(b + 7)) == (
        pytest.approx(distance, rel=1e-4, abs=1e-4)  # float32 rounds the shifted features
    )
    by_moments = GaussianStatistics.from_moments(first.mean, first.covariance)
    assert frechet_distance(by_moments, second) == pytest.approx(distance, rel=1e-6, abs=1e-6)
    np.testing.assert_allclose(
        first.covariance, np.cov(a.double().numpy(), rowvar=False).reshape(dims, dims), rtol=1e-9, atol=1e-9
    )


def test_constant_images_are_finite() -> None:
    black, white = torch.zeros(5, 6), torch.ones(9, 6)
    flat, other = GaussianStatistics.from_features(black), GaussianStatistics.from_features(white)
    assert frechet_distance(flat, flat) == 0.0
    assert frechet_distance(flat, other) == pytest.approx(6.0)
    varied = fitted(20, 6, 6)
    expected = float(np.square(varied.mean).sum()) + varied.trace
    assert frechet_distance(flat, varied) == pytest.approx(expected)
    no_variance = GaussianStatistics.from_moments(np.zeros(6), np.zeros((6, 6)))
    assert frechet_distance(no_variance, varied) == pytest.approx(expected)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_refused(count: int) -> None:
    with pytest.raises(DataError, match="at least 2 images"):
        GaussianStatistics.from_features(torch.zeros(count, 4))


def test_unsuitable_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        GaussianStatistics.from_features(torch.tensor([[1.0], [math.nan]]))
    with pytest.raises(DataError, match="8 and of 9 dimensions"):
        frechet_distance(fitted(4, 8, 0), fitted(4, 9, 0))


@pytest.mark.parametrize("count", [6, 60])
def test_statistics_survive_a_file(tmp_path: Path, count: int) -> None:
    path = tmp_path / "with [brackets] and ü.npz"
    statistics = fitted(count, 16, 7)
    save_statistics(path, statistics)
    loaded = load_statistics(path)
    assert loaded.n == count and loaded.dims == 16
    np.testing.assert_array_equal(loaded.mean, statistics.mean)
    np.testing.assert_allclose(loaded.covariance, statistics.covariance, atol=1e-12 * statistics.trace)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with np.load(path) as archive:  # as pytorch-fid reads it
        assert archive["mu"].shape == (16,) and archive["sigma"].shape == (16, 16)


def test_a_file_of_pytorch_fid_has_no_count(tmp_path: Path) -> None:
    statistics = fitted(30, 4, 8)
    np.savez_compressed(tmp_path / "theirs.npz", mu=statistics.mean, sigma=statistics.covariance)
    loaded = load_statistics(tmp_path / "theirs.npz")
    assert loaded.n is None
    assert frechet_distance(loaded, statistics) < 1e-6 * statistics.trace


def test_saving_where_one_cannot(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        save_statistics(tmp_path / "nowhere" / "x.npz", fitted(4, 2, 0))


GOOD: dict[str, NDArray[np.generic]] = {"mu": np.zeros(3), "sigma": np.eye(3)}
BAD = {
    "no mu": {"sigma": np.eye(3)},
    "other keys": {"mean": np.zeros(3), "cov": np.eye(3)},
    "mu of two axes": GOOD | {"mu": np.zeros((1, 3))},
    "other sizes": GOOD | {"sigma": np.eye(4)},
    "no dimensions": {"mu": np.zeros(0), "sigma": np.zeros((0, 0))},
    "NaN": GOOD | {"mu": np.array([0, np.nan, 0])},
    "infinite": GOOD | {"sigma": np.diag([1, np.inf, 1])},
    "complex": GOOD | {"sigma": np.eye(3) * 1j},
    "text": GOOD | {"mu": np.array(["a", "b", "c"])},
    "asymmetric": GOOD | {"sigma": np.eye(3) + np.eye(3, k=1)},
    "indefinite": GOOD | {"sigma": -np.eye(3)},
    "n of one": GOOD | {"n": np.array(1)},
    "fractional n": GOOD | {"n": np.array(2.5)},
    "n for each": GOOD | {"n": np.array([5, 5, 5])},
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_arrays_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "stats.npz"
    with path.open("wb") as file:
        np.savez(file, **BAD[name])  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"stats\.npz is not a file of reference statistics"):
        load_statistics(path)


class Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def test_pickled_objects_never_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "stats.npz"
    poison = np.array([Payload(marker)] * 3, dtype=object)
    np.savez(path, mu=poison, sigma=np.eye(3))
    with pytest.raises(DataError, match="stats"):
        load_statistics(path)
    path.write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(DataError, match="stats"):
        load_statistics(path)
    assert not marker.exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_statistics(tmp_path / "missing.npz")
    with pytest.raises(DataError, match="it is a folder, not a file"):
        load_statistics(tmp_path)
    path = tmp_path / "stats.npz"
    bare = io.BytesIO()
    np.save(bare, np.zeros(3))
    for content in (b"", b"<!DOCTYPE html><html></html>", b"PK\x03\x04", bare.getvalue()):
        path.write_bytes(content)
        with pytest.raises(DataError, match="no sound npz file"):
            load_statistics(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mu.npy", "no array")
    with pytest.raises(DataError, match="stats"):
        load_statistics(path)


def test_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    save_statistics(path, fitted(10, 3, 9))
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 5)]
    for position in range(0, len(whole), 3):
        damaged.append(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
    for content in damaged:
        path.write_bytes(content)
        try:
            statistics = load_statistics(path)
        except DataError:
            continue
        assert np.isfinite(statistics.mean).all() and np.isfinite(statistics.factor).all()


def test_a_statistics_file_is_measured_before_it_is_computed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "huge.npz"
    np.savez_compressed(path, mu=np.zeros(1000), sigma=np.zeros((1000, 1000)))
    monkeypatch.setattr(np.linalg, "eigh", lambda *_: pytest.fail("computed before the dimensions were compared"))
    with pytest.raises(DataError, match="statistics of 1000 dimensions, but the features here have 64"):
        load_statistics(path, 64)
    np.savez_compressed(path, mu=np.zeros(64), sigma=np.zeros((6000, 6000)))
    with pytest.raises(DataError, match="would expand to"):
        load_statistics(path, 64)
    with pytest.raises(DataError, match="a device or a pipe"):
        load_statistics(Path("/dev/zero"), 64)
