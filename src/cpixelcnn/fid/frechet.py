"""The Frechet distance between two Gaussians, exact in float64, and the files that keep their statistics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.errors import DataError
from cpixelcnn.foreign_files import MissingFileError, UnreadableFileError, read_arrays
from cpixelcnn.storage import atomic_path

Matrix = NDArray[np.float64]

_INDEFINITE = 1e-3  # a negative eigenvalue beyond this fraction of the largest entry is no rounding error

_LARGEST = 1 << 28  # bytes of a statistics file, also once expanded; 2,048 dimensions in float64 take 34 million
_MOST_DIMENSIONS = 4096  # of a statistics file


@dataclass(frozen=True, eq=False)
class GaussianStatistics:
    """A Gaussian fitted to N feature vectors of D dimensions.

    The covariance is kept as a factor, because the distance needs nothing else, because it is positive semi-definite by
    construction, and because the factor of few images is small.

    Attributes:
        mean: float64 (D,).
        factor: float64 (R, D), R <= D, such that the covariance is factor^T factor.
        n: number of feature vectors, None where it is not known.
    """

    mean: Matrix
    factor: Matrix
    n: int | None = None

    @classmethod
    def from_features(cls, features: Tensor) -> GaussianStatistics:
        """Fit to features (N, D), with the unbiased covariance (divisor N - 1).

        Raises:
            DataError: fewer than two feature vectors, or features that are not finite.
        """
        values = features.detach().cpu().double().numpy()
        if len(values) < 2:
            raise DataError(
                f"a Frechet distance needs at least 2 images on either side, but here there are {len(values)}"
            )
        if not np.isfinite(values).all():
            raise DataError("the feature network gives numbers that are not finite; check its weights")
        mean = values.mean(axis=0)
        factor = (values - mean) / np.sqrt(len(values) - 1)
        if factor.shape[0] > factor.shape[1]:
            factor = np.linalg.qr(factor, mode="r")  # A = QR  =>  A^T A = R^T R, with fewer rows
        return cls(mean, factor, len(values))

    @classmethod
    def from_moments(cls, mean: Matrix, covariance: Matrix, n: int | None = None) -> GaussianStatistics:
        """Take a mean (D,) and a covariance (D, D), whose negative eigenvalues (rounding) are set to zero.

        Raises:
            DataError: the matrix is no covariance by more than rounding.
        """
        scale = np.abs(covariance).max()
        if not np.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6 * scale):
            raise DataError("the covariance is not symmetric")
        eigenvalues, eigenvectors = np.linalg.eigh((covariance + covariance.T) / 2)
        if eigenvalues.min() < -_INDEFINITE * scale:
            raise DataError("the covariance has negative eigenvalues")
        # Directions whose variance is within the rounding error of the largest one carry nothing but noise.
        kept = eigenvalues > eigenvalues.max(initial=0.0) * len(mean) * np.finfo(np.float64).eps
        return cls(mean, np.sqrt(eigenvalues[kept])[:, None] * eigenvectors[:, kept].T, n)

    @property
    def dims(self) -> int:
        """D."""
        return len(self.mean)

    @property
    def covariance(self) -> Matrix:
        """float64 (D, D)."""
        product: Matrix = self.factor.T @ self.factor
        return product

    @property
    def trace(self) -> float:
        """Trace of the covariance: the total variance."""
        return float(np.square(self.factor).sum())


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """d^2 = |mu_a - mu_b|^2 + tr S_a + tr S_b - 2 tr (S_a S_b)^(1/2), at least 0 (Heusel et al. 2017, eq. 6).

    arXiv 1706.08500.

    With S_a = A^T A and S_b = B^T B, the eigenvalues of S_a S_b are the squared singular values of A B^T (and zeros),
    so that the last trace is the nuclear norm of A B^T: exact, real, and cheap when either side has few images.
    Rounding leaves the distance of a set to itself at about 1e-12 of its variance.

    Raises:
        DataError: different numbers of dimensions.
    """
    if a.dims != b.dims:
        raise DataError(
            f"statistics of {a.dims} and of {b.dims} dimensions cannot be compared; use the same features for both"
        )
    cross = float(np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum())
    distance = float(np.square(a.mean - b.mean).sum()) + a.trace + b.trace - 2 * cross
    return max(distance, 0.0)


def save_statistics(path: Path, statistics: GaussianStatistics) -> None:
    """Write an npz file in pytorch-fid's layout (`mu`, `sigma`), with `n` where it is known; atomic.

    Raises:
        DataError: the file cannot be written.
    """
    count: dict[str, Any] = {} if statistics.n is None else {"n": np.int64(statistics.n)}
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mu=statistics.mean, sigma=statistics.covariance, **count)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error}); choose another place") from None


def load_statistics(path: Path, dims: int | None = None) -> GaussianStatistics:
    """Read an npz file of `save_statistics` or of pytorch-fid's --save-stats. Pickled objects are never loaded.

    Args:
        dims: how many dimensions the statistics must have; checked before anything costly is done with them.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    arrays = _read_npz(path)
    mean = _numbers(path, arrays, "mu")
    if dims is not None and mean.shape != (dims,):
        raise DataError(
            f"{path} holds statistics of {mean.size} dimensions, but the features here have {dims}; "
            "choose the `features` and `dims` with which the file was made"
        )
    covariance = _numbers(path, arrays, "sigma")
    if mean.ndim != 1 or len(mean) == 0 or covariance.shape != (len(mean), len(mean)):
        raise _unusable(path, f"mu has shape {mean.shape} and sigma {covariance.shape}, not (D,) and (D, D)")
    if len(mean) > _MOST_DIMENSIONS:  # whose eigenvalues take a minute
        raise _unusable(path, f"it has {len(mean)} dimensions, more than {_MOST_DIMENSIONS}")
    n = _count(path, arrays)
    try:
        return GaussianStatistics.from_moments(mean, covariance, n)
    except DataError as error:
        raise _unusable(path, str(error)) from None


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_arrays(path, ("mu", "sigma", "n"), most_bytes=_LARGEST)
    except MissingFileError:
        raise DataError(f"{path} does not exist; check the path of the reference statistics") from None
    except UnreadableFileError as error:
        raise _unusable(path, error.reason) from None


def _numbers(path: Path, arrays: dict[str, NDArray[Any]], key: str) -> Matrix:
    if key not in arrays:
        raise _unusable(path, f"it has no array {key!r}")
    if arrays[key].dtype.kind not in "fiu":
        raise _unusable(path, f"{key} holds {arrays[key].dtype}, not real numbers")
    values = arrays[key].astype(np.float64)
    if not np.isfinite(values).all():
        raise _unusable(path, f"{key} holds numbers that are not finite")
    return values


def _count(path: Path, arrays: dict[str, NDArray[Any]]) -> int | None:
    if "n" not in arrays:
        return None
    count = arrays["n"]
    if count.shape != () or count.dtype.kind not in "iu" or int(count) < 2:
        raise _unusable(path, "n is not a whole number of 2 or more")
    return int(count)


def _unusable(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a file of reference statistics: {reason}; give one that holds mu (D,) and sigma (D, D)"
    )
