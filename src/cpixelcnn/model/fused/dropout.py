"""The mask of a dropout on a CPU, from few random words.

torch draws one 32-bit random word for each element and compares it, which makes a training step a fifth to two fifths
longer (`benchmarks/dropout.py`). Here eight elements share one 64-bit word where p is a multiple of 1 / 128, and four
otherwise, with p met to within 2^-16; and what compares is integer arithmetic, many elements at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dropout_mask(x: Tensor, p: float) -> Tensor:
    """0 for every element of x that is dropped (with probability p) and 1 for the others, in x's memory format."""
    if torch.compiler.is_compiling():
        return torch.rand_like(x, dtype=torch.float32) >= p
    if x.device.type != "cpu" or p > 1.0 - 2**-10:  # so close to 1 that 2^-16 would be a large error
        return torch.empty_like(x, dtype=torch.bool).bernoulli_(1.0 - p)
    bits = 8 if (p * 128).is_integer() else 16
    words = torch.empty(-(-x.numel() * bits // 64), dtype=torch.int64).random_(-(2**63), None)
    uniform = words.view(torch.int8 if bits == 8 else torch.int16)[: x.numel()]
    # The sign of the difference decides. Both sides are halved, so that it does not overflow.
    threshold = round((p - 0.5) * 2 ** (bits - 1))
    sign = ((uniform >> 1) - threshold) >> (bits - 1)  # -1 where the element is dropped, else 0
    mask: Tensor = (sign + 1).to(torch.int8)
    return mask.as_strided(x.size(), x.stride())
