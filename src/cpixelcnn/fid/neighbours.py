"""Fidelity and diversity apart: precision, recall, density and coverage by nearest neighbours among features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.errors import DataError


@dataclass(frozen=True)
class NeighbourScores:
    """Attributes:
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
    distances = torch.cdist(x, y)  # (N, M)
    reach_x, reach_y = (torch.cdist(z, z).kthvalue(k + 1).values for z in (x, y))  # the nearest is the image itself
    in_real = distances <= reach_y
    return NeighbourScores(
        precision=in_real.any(dim=1).double().mean().item(),
        recall=(distances <= reach_x[:, None]).any(dim=0).double().mean().item(),
        density=in_real.double().sum(dim=1).mean().item() / k,
        coverage=(distances.min(dim=0).values <= reach_y).double().mean().item(),
        k=k,
    )
