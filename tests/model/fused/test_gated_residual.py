"""The gated residual block as one node: the same numbers and gradients as its definition, layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cpixelcnn.model.conditioning import FiLM
from cpixelcnn.model.fused import applicable, definitions_only
from cpixelcnn.model.fused.gated_residual import _ConcatELU
from cpixelcnn.model.layers import (
    DownRightShiftedConv,
    DownShiftedConv,
    GatedResidualBlock,
    concat_elu,
)

N, FILTERS, EMBEDDING = 3, 4, 5


def make_block(conv: type[DownShiftedConv], nr_skips: int, film: bool, dropout: float) -> GatedResidualBlock:
    torch.manual_seed(0)
    block = GatedResidualBlock(
        conv, FILTERS, nr_skips * FILTERS, dropout, FiLM(EMBEDDING, 2 * FILTERS) if film else None
    ).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.train()


def make_inputs(nr_skips: int, size: tuple[int, int], layout: torch.memory_format) -> list[Tensor]:
    torch.manual_seed(1)
    features = [torch.randn(N, FILTERS, *size, dtype=torch.float64) for _ in range(1 + nr_skips)]
    features = [x.contiguous(memory_format=layout) for x in features]
    return [x.requires_grad_() for x in [*features, torch.randn(N, EMBEDDING, dtype=torch.float64)]]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("film", [False, True])
@pytest.mark.parametrize("nr_skips", [0, 1, 2])
@pytest.mark.parametrize("conv", [DownShiftedConv, DownRightShiftedConv])
def test_equals_its_definition_with_all_gradients(
    conv: type[DownShiftedConv], nr_skips: int, film: bool, dropout: float, layout: torch.memory_format
) -> None:
    block = make_block(conv, nr_skips, film, dropout)
    x, *skips, embedding = make_inputs(nr_skips, (5, 3), layout)
    weights = torch.randn(N, FILTERS, 5, 3, dtype=torch.float64)
    wanted = [x, *skips, *([embedding] if film else []), *block.parameters()]

    torch.manual_seed(2)
    fused = block(x, skips, embedding)
    fused_gradients = torch.autograd.grad((fused * weights).sum(), wanted)
    torch.manual_seed(2)  # the same dropout
    with definitions_only():
        plain = block(x, skips, embedding)
    plain_gradients = torch.autograd.grad((plain * weights).sum(), wanted)

    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(fused_gradients, plain_gradients)
    assert all(bool(gradient.any()) for gradient in fused_gradients)


def test_gradient_of_an_activation_that_several_blocks_share() -> None:
    first, second = (make_block(conv, 1, False, 0.0) for conv in (DownShiftedConv, DownRightShiftedConv))
    x, skip, _ = make_inputs(1, (4, 4), torch.channels_last)
    fused = first(x, [skip]).square().sum() + second(skip, [x]).sum()
    with definitions_only():
        plain = first(x, [skip]).square().sum() + second(skip, [x]).sum()
    torch.testing.assert_close(torch.autograd.grad(fused, (x, skip)), torch.autograd.grad(plain, (x, skip)))


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 1, 1, 1)])
def test_concat_elu_and_its_gradient(size: tuple[int, ...]) -> None:
    x = torch.randn(size, dtype=torch.float64, requires_grad=True)
    expected = nn.functional.elu(torch.cat([x, -x], dim=1))
    torch.testing.assert_close(concat_elu(x), expected)
    torch.testing.assert_close(_ConcatELU.apply(x), expected)
    assert torch.autograd.gradcheck(_ConcatELU.apply, x)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-30, -1e-30, 80.0, -80.0, 1e30, -1e30])
def test_concat_elu_of_extreme_numbers(value: float) -> None:
    x = torch.full((1, 1, 1, 1), value)
    assert torch.equal(_ConcatELU.apply(x), nn.functional.elu(torch.cat([x, -x], dim=1)))


def test_keeps_little_more_than_half_of_what_its_definition_keeps() -> None:
    block = make_block(DownRightShiftedConv, 2, True, 0.5)
    x, *skips, embedding = make_inputs(2, (32, 32), torch.channels_last)
    kept: dict[int, int] = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        fused = block(x, skips, embedding)
        fused_bytes = sum(kept.values())
        kept.clear()
        with definitions_only():
            plain = block(x, skips, embedding)
    assert fused_bytes < 0.6 * sum(kept.values())
    assert fused.shape == plain.shape


def test_its_gradient_cannot_be_differentiated_and_says_so() -> None:
    """Even where the incoming gradient needs none, for which torch's own decorator silently returns zeros."""
    block = make_block(DownShiftedConv, 0, False, 0.0)
    x = make_inputs(0, (3, 3), torch.channels_last)[0]
    with pytest.raises(RuntimeError, match="no second derivatives; compute the model within"):
        torch.autograd.grad(block(x).sum(), x, create_graph=True)
    with definitions_only():
        (gradient,) = torch.autograd.grad(block(x).sum(), x, create_graph=True)
        assert torch.autograd.grad(gradient.square().sum(), x)[0].any()


def test_transforms_of_functions_use_the_definition() -> None:
    block = make_block(DownShiftedConv, 0, False, 0.0)
    x = make_inputs(0, (3, 3), torch.channels_last)[0].detach()
    wanted = torch.autograd.functional.jacobian(block, x)
    torch.testing.assert_close(torch.func.jacrev(block)(x), wanted)
    assert applicable()
    with definitions_only():
        assert not applicable()
    assert applicable()
