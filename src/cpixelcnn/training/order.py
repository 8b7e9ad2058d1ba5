"""The order of the images in an epoch: a function of (seed, epoch), so that a resumed training finds its place."""

from __future__ import annotations

import torch
from torch import Tensor

from cpixelcnn.seeds import derive_seed


def epoch_order(labels: Tensor, seed: int, epoch: int, *, balanced: bool = False) -> Tensor:
    """Indices of the images of one epoch, int64 (N,): each of them once, or N draws with the classes equally frequent.

    Args:
        labels: of the training images, (N,).
        seed, epoch: all that the order depends on besides.
        balanced: draw every class that occurs equally often (to within one, where N is no multiple of their number).
            The images of a class are gone through in random order, again and again where the class is rare.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    n = len(labels)
    if not balanced:
        return torch.randperm(n, generator=generator)
    present = torch.unique(labels)
    smaller, longer = divmod(n, len(present))
    draws = []
    for place, label in enumerate(present[torch.randperm(len(present), generator=generator)]):
        members = torch.nonzero(labels == label)[:, 0]
        quota = smaller + (place < longer)
        passes = -(-quota // len(members))
        rounds = [members[torch.randperm(len(members), generator=generator)] for _ in range(passes)]
        draws.append(torch.cat([members[:0], *rounds])[:quota])
    return torch.cat(draws)[torch.randperm(n, generator=generator)]
