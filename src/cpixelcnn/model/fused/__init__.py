"""The same functions as the definitions in this package, faster and in less memory, with their gradients written out.

Nothing here changes what is computed: `tests/model/fused` compares every function with its definition. The definitions
stand in `layers.py`; each of them hands over to its counterpart here where `applicable()` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

_definitions_only = False


def applicable() -> bool:
    """Whether the functions of this package may be used: in eager mode, and outside the transforms of `torch.func`.

    `torch.compile` fuses the plain definition better than it could a function that it cannot look into, and
    `torch.func` needs operations that it knows.
    """
    transformed: bool = torch._C._are_functorch_transforms_active()
    return not (_definitions_only or transformed or torch.compiler.is_compiling())


@contextmanager
def definitions_only() -> Iterator[None]:
    """While open, every layer computes its definition, which can be differentiated any number of times."""
    global _definitions_only
    before, _definitions_only = _definitions_only, True
    try:
        yield
    finally:
        _definitions_only = before


def first_order_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a gradient that cannot be differentiated again; asked for that, it raises instead of returning zeros.

    (`torch.autograd.function.once_differentiable` raises only if the *incoming* gradient requires one.)
    """

    @wraps(backward)
    def checked(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():  # only so under create_graph=True
            raise RuntimeError(
                "the fused layers of cpixelcnn have no second derivatives; compute the model within "
                "cpixelcnn.model.fused.definitions_only() to differentiate its gradient"
            )
        return backward(ctx, *gradients)

    return checked
