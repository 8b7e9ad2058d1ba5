"""Fidelity and diversity apart: precision, recall, density and coverage by nearest neighbours among features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.errors import DataError

ROWS = 1024  # images whose distances to all others are in memory at a time


@dataclass(frozen=True)
class NeighbourScores:
    """Four fractions or ratios of samples and real images whose neighbourhoods meet.

    Attributes:
        precision: fraction of the samples that lie in the ball of some real image; 1 is best.
        recall: fraction of the real images that lie in the ball of some sample; 1 is best.
        density: real balls that a sample lies in, divided by k, on average; about 1 for real images, and may exceed it.
        coverage: fraction of the real images whose ball holds a sample; 1 is best.
        k: the ball of an image reaches as far as its k-th nearest neighbour of its own kind.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    k: int


def neighbour_scores(samples: Tensor, reference: Tensor, k: int = 3) -> NeighbourScores:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al.
    2020, arXiv 2002.09797), of features (N, D) against (M, D).

    Raises:
        DataError: a side has no more than `k` images.
    """
    if min(len(samples), len(reference)) <= k:
        raise DataError(
            f"precision and recall by {k} neighbours need more than {k} images on either side, "
            f"but there are {len(samples)} samples and {len(reference)} references"
        )
    x, y = samples.detach().cpu(), reference.detach().cpu()
    reach_x, reach_y = (_reach(z, k) for z in (x, y))
    nearest = torch.full((len(y),), torch.inf)  # distance of each real image to the nearest sample
    recalled = torch.zeros(len(y), dtype=torch.bool)
    balls = []  # how many real balls each sample lies in
    for rows, reach in zip(torch.split(x, ROWS), torch.split(reach_x, ROWS), strict=True):
        distances = torch.cdist(rows, y)
        balls.append((distances <= reach_y).sum(dim=1))
        recalled |= (distances <= reach[:, None]).any(dim=0)
        nearest = torch.minimum(nearest, distances.min(dim=0).values)
    lies_in = torch.cat(balls)
    return NeighbourScores(
        precision=(lies_in > 0).double().mean().item(),
        recall=recalled.double().mean().item(),
        density=lies_in.double().mean().item() / k,
        coverage=(nearest <= reach_y).double().mean().item(),
        k=k,
    )


def _reach(x: Tensor, k: int) -> Tensor:
    """Distance of each image to its k-th nearest neighbour; the nearest of all is the image itself."""
    return torch.cat([torch.cdist(rows, x).kthvalue(k + 1).values for rows in torch.split(x, ROWS)])
