"""Weight normalisation and its gradient, against the formula operation by operation."""

from __future__ import annotations

import pytest
import torch

from cpixelcnn.model.fused.weight_norm import weight_norm


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_value_and_gradient(axis: int, scale: float, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    v = torch.randn(3, 4, 2, 3, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    g = torch.randn(v.shape[axis], dtype=torch.float64, requires_grad=True)
    weight = weight_norm(v, g, axis, scale)
    for channel in range(v.shape[axis]):
        row = v.select(axis, channel)
        torch.testing.assert_close(weight.select(axis, channel), scale * g[channel] * row / row.norm())
    assert weight.is_contiguous(memory_format=layout)
    assert torch.autograd.gradcheck(lambda v, g: weight_norm(v, g, axis, scale), (v, g))
    gradient = torch.autograd.grad(weight.sin().sum(), v)[0]
    assert gradient.is_contiguous(memory_format=layout)


def test_compiled_it_is_the_same() -> None:
    v, g = torch.randn(3, 4, 2, 2, requires_grad=True), torch.randn(3, requires_grad=True)
    compiled = torch.compile(weight_norm, backend="eager", fullgraph=True)
    one, other = compiled(v, g, 0, 2.0), weight_norm(v, g, 0, 2.0)
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(*(torch.autograd.grad(weight.sin().sum(), (v, g)) for weight in (one, other)))
    torch.compiler.reset()
