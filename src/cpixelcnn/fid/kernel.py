"""Kernel inception distance: a distance between feature vectors without a Gaussian, and without bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.errors import DataError

SUBSETS = 100
SUBSET_SIZE = 1000
JACKKNIFE_SIZE = 4000  # images of either side at most: three matrices of 128 MB

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance and how sure it is.

    Attributes:
        value: mean of the unbiased estimate over subsets; slightly below 0 for equal distributions.
        stderr: how much the value would change with other images, by the jackknife over the images of both sides; None
            with two images on a side.
        spread: standard deviation over the subsets, which other implementations print. Subsets overlap, so that it
            depends on their size and says little about other images.
        n_subsets: how many subsets there were.
        subset_size: images of either side in each.
    """

    value: float
    stderr: float | None
    spread: float
    n_subsets: int
    subset_size: int


def kernel_distance(
    samples: Tensor, reference: Tensor, n_subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 2020
) -> KernelDistance:
    """KID: squared maximum mean discrepancy with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401).

    Args:
        samples, reference: features (N, D) and (M, D).
        n_subsets: how many random subsets are averaged.
        subset_size: images of either side in a subset; all of the smaller side where it has fewer.
        seed: of the subsets; 2020 is that of torch-fidelity.

    Raises:
        DataError: fewer than two images on a side, or features of other lengths.
    """
    x, y = samples.detach().cpu().numpy(), reference.detach().cpu().numpy()
    if min(len(x), len(y)) < 2 or x.shape[1] != y.shape[1]:
        raise DataError("a kernel distance needs at least 2 images on either side, and features of one length")
    size = min(subset_size, len(x), len(y))
    generator = np.random.RandomState(seed)
    values = np.empty(n_subsets)
    for i in range(n_subsets):
        some_x = x[generator.choice(len(x), size, replace=False)]
        some_y = y[generator.choice(len(y), size, replace=False)]
        values[i] = _mmd2(some_x.astype(np.float64), some_y.astype(np.float64))
    return KernelDistance(float(values.mean()), _stderr(x, y), float(values.std()), n_subsets, size)


def _mmd2(x: Matrix, y: Matrix) -> float:
    """The unbiased estimate of MMD^2 for equally many x and y (Gretton et al. 2012, JMLR 13:723, eq. 3)."""
    n = len(x)
    within = sum(float(k.sum() - np.trace(k)) for k in (_kernel(x, x), _kernel(y, y)))
    return within / (n * (n - 1)) - 2 * float(_kernel(x, y).mean())


def _stderr(x: NDArray[np.float32], y: NDArray[np.float32]) -> float | None:
    """Standard error of the unbiased estimate over all images, by leaving out each image of either side in turn.

    The variance falls as 1/N, so that where there are very many images, some of them tell that of all.
    """
    if min(len(x), len(y)) < 3:
        return None
    # Evenly spaced, since images may lie class by class.
    some_x, some_y = (
        z[np.linspace(0, len(z) - 1, min(len(z), JACKKNIFE_SIZE)).astype(int)].astype(np.float64) for z in (x, y)
    )
    between = _kernel(some_x, some_y)
    variance = 0.0
    for some, count, to_others in ((some_x, len(x), between.sum(axis=1)), (some_y, len(y), between.sum(axis=0))):
        n, m = len(some), between.size // len(some)
        within = _kernel(some, some)
        to_same = within.sum(axis=1) - within.diagonal()
        left_out = (to_same.sum() - 2 * to_same) / ((n - 1) * (n - 2)) - 2 * (between.sum() - to_others) / ((n - 1) * m)
        variance += (n - 1) * float(left_out.var()) * n / count
    return float(np.sqrt(variance))


def _kernel(x: Matrix, y: Matrix) -> Matrix:
    product: Matrix = (x @ y.T / x.shape[1] + 1) ** 3
    return product
