"""Gradients of padded convolutions, against those that autograd makes of the same convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cpixelcnn.model.fused.convolution import NO_PADDING, Padding, convolution_gradients, padded

KINDS: dict[str, tuple[tuple[int, int], Padding]] = {
    "down": ((2, 3), (1, 1, 1, 0)),
    "down-right": ((2, 2), (1, 0, 1, 0)),
    "1 x 1": ((1, 1), NO_PADDING),
    "lopsided": ((3, 4), (1, 2, 0, 2)),  # zeros below as well, which the network has nowhere
}
LAYOUTS = (torch.channels_last, torch.contiguous_format)


def expected(
    x: Tensor, weight: Tensor, gradient: Tensor, padding: Padding, factor: Tensor | None
) -> tuple[Tensor, ...]:
    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight)]
    y = F.conv2d(F.pad(leaves[0], padding), leaves[1])
    return torch.autograd.grad((y * gradient * (1.0 if factor is None else factor)).sum(), leaves)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(
    n=st.integers(0, 3),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    layout=st.sampled_from(LAYOUTS),
    scaled=st.booleans(),
)
def test_gradients_are_autograds(
    kind: str, n: int, channels: tuple[int, int], size: tuple[int, int], layout: torch.memory_format, scaled: bool
) -> None:
    (kernel, padding), (ins, outs) = KINDS[kind], channels
    torch.manual_seed(0)
    x = torch.randn(n, ins, *size, dtype=torch.float64).contiguous(memory_format=layout)
    gradient = torch.randn(n, outs, *size, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(outs, ins, *kernel, dtype=torch.float64)
    factor = torch.randn(n, outs, 1, 1, dtype=torch.float64) if scaled else None
    found = convolution_gradients(gradient, padded(x, padding), weight, padding, factor)
    torch.testing.assert_close(found, expected(x, weight, gradient, padding, factor))


def test_other_precisions_take_the_library_s_own_gradients() -> None:
    kernel, padding = KINDS["down"]
    torch.manual_seed(0)
    x, gradient = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 4, 5)
    weight, factor = torch.randn(6, 3, *kernel), torch.randn(2, 6, 1, 1)
    low = [tensor.bfloat16() for tensor in (gradient, padded(x, padding), weight)]
    found = convolution_gradients(*low, padding, factor.bfloat16())
    assert all(tensor.dtype == torch.bfloat16 for tensor in found)
    for one, other in zip(found, expected(x, weight, gradient, padding, factor), strict=True):
        assert float((one - other).norm() / other.norm()) < 0.02


@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding(layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=layout)
    factor = torch.randn(2, 3, 4, 5)
    result = padded(x, (1, 2, 3, 0))
    assert torch.equal(result, F.pad(x, (1, 2, 3, 0)))
    assert result.is_contiguous(memory_format=layout)
    assert torch.equal(padded(x, (0, 1, 0, 2), factor), F.pad(x * factor, (0, 1, 0, 2)))
