"""The buffers of the incremental sampler: allocated once, zero at the start of every batch."""

from __future__ import annotations

import torch
from torch import Tensor


class BufferPool:
    """Hands out tensors of zeros on one device and in one precision, and can empty them all at once.

    Attributes:
        tensors: what was handed out.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        self.tensors: list[Tensor] = []

    def in_full_precision(self) -> BufferPool:
        """The same pool, handing out tensors in float32, or in its own precision where that is higher."""
        pool = BufferPool(self.device, torch.promote_types(self.dtype, torch.float32))
        pool.tensors = self.tensors
        return pool

    def zeros(self, *size: int) -> Tensor:
        """A tensor of zeros that `reset` will empty again."""
        tensor = torch.zeros(size, device=self.device, dtype=self.dtype)
        self.tensors.append(tensor)
        return tensor

    def place(self, weight: Tensor) -> Tensor:
        """A copy of a weight on the device and in the precision of the buffers; never emptied."""
        return weight.detach().to(self.device, self.dtype, copy=True)

    def reset(self) -> None:
        """Fill every tensor that was handed out with zeros."""
        for tensor in self.tensors:
            tensor.zero_()
