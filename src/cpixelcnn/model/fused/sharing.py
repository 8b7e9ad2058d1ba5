"""Activations that several blocks read are computed once in a forward pass.

In the network a stream is read by the next block, by the other stream and, as a long skip, by a block on the way down.
Between two passes nothing is shared: a tensor may have changed, or its gradients may be wanted anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")

_open_pass: ContextVar[object | None] = ContextVar("_open_pass", default=None)


@contextmanager
def one_forward_pass() -> Iterator[None]:
    """While open, functions marked `once_per_pass` compute the result for a tensor once; no tensor may change in it."""
    token = _open_pass.set(object())
    try:
        yield
    finally:
        _open_pass.reset(token)


def as_one_pass(forward: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Mark a module's `forward`: each call is one forward pass. A compiler sees the function as it is."""

    @wraps(forward)
    def within_a_pass(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.compiler.is_compiling():
            return forward(*args, **kwargs)
        with one_forward_pass():
            return forward(*args, **kwargs)

    return within_a_pass


def once_per_pass(function: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[..., Tensor]:
    """Mark a function of a tensor, the results of which are shared within a forward pass.

    The result is kept as an attribute of the tensor, so that it lives as long as the tensor does. Outside a pass the
    function is as it was.
    """
    attribute = f"_{function.__name__}"

    @wraps(function)
    def shared(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        this_pass = _open_pass.get()
        if this_pass is None:
            return function(x, *args, **kwargs)
        of_pass, result = getattr(x, attribute, (None, None))
        if result is None or of_pass is not this_pass:
            result = function(x, *args, **kwargs)
            setattr(x, attribute, (this_pass, result))
        return result

    return shared
