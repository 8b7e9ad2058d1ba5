"""Kernel inception distance: a distance between feature vectors without a Gaussian, and without bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.errors import DataError

SUBSETS = 100
SUBSET_SIZE = 1000


@dataclass(frozen=True)
class KernelDistance:
    """Attributes:
    value: mean of the unbiased estimate over subsets; slightly below 0 for equal distributions.
    stderr: standard deviation over the subsets, divided by the root of their number. Subsets overlap, so that it
        tells how far the mean is settled, not how much other images would change it.
    spread: that standard deviation itself, which other implementations print.
    n_subsets: how many subsets there were.
    subset_size: images of either side in each.
    """

    value: float
    stderr: float
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
    spread = float(values.std())
    return KernelDistance(float(values.mean()), spread / np.sqrt(n_subsets).item(), spread, n_subsets, size)


def _mmd2(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The unbiased estimate of MMD^2 for equally many x and y (Gretton et al. 2012, eq. 3)."""
    n = len(x)
    within = sum(float(k.sum() - np.trace(k)) for k in (_kernel(x, x), _kernel(y, y)))
    return within / (n * (n - 1)) - 2 * float(_kernel(x, y).mean())


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return product
