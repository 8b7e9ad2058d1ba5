"""Activations are shared within one forward pass, and between two passes nothing is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cpixelcnn.model.fused import definitions_only
from cpixelcnn.model.fused.sharing import once_per_pass, one_forward_pass
from cpixelcnn.model.layers import DownShiftedConv, GatedResidualBlock

calls: list[Tensor] = []


@once_per_pass
def doubled(x: Tensor) -> Tensor:
    calls.append(x)
    return 2.0 * x


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@pytest.fixture
def block() -> GatedResidualBlock:
    torch.manual_seed(0)
    return GatedResidualBlock(DownShiftedConv, 4, 0, 0.0, None).double()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 4, 4, 4, dtype=torch.float64, requires_grad=True)


def test_within_a_pass_a_result_is_computed_once() -> None:
    x = torch.ones(3)
    with one_forward_pass():
        assert doubled(x) is doubled(x)
        with one_forward_pass():
            doubled(x)
    assert len(calls) == 2  # once in each of the two passes


def test_outside_a_pass_nothing_is_kept() -> None:
    x = torch.ones(3)
    with one_forward_pass():
        doubled(x)
    assert doubled(x) is not doubled(x)
    assert len(calls) == 3


def test_a_pass_that_fails_is_closed() -> None:
    with pytest.raises(ZeroDivisionError), one_forward_pass():
        raise ZeroDivisionError
    x = torch.ones(3)
    assert doubled(x) is not doubled(x)


def test_a_block_has_its_gradient_after_a_call_without_gradients(block: GatedResidualBlock, x: Tensor) -> None:
    with torch.no_grad():
        block(x)
    (gradient,) = torch.autograd.grad(block(x).sum(), x)
    with definitions_only():
        (expected,) = torch.autograd.grad(block(x).sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_a_block_sees_that_its_input_has_changed(block: GatedResidualBlock, x: Tensor) -> None:
    x = x.detach()
    block(x)
    x += 1.0
    with definitions_only():
        expected = block(x)
    torch.testing.assert_close(block(x), expected)


def test_a_block_can_be_differentiated_twice_in_turn(block: GatedResidualBlock, x: Tensor) -> None:
    for _ in range(2):
        block(x).sum().backward()
    with definitions_only():
        (expected,) = torch.autograd.grad(block(x).sum(), x)
    torch.testing.assert_close(x.grad, 2.0 * expected)
