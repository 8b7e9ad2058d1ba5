"""The layers on their own: weight normalisation and its initialisation, shifts, sizes, dropout."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cpixelcnn.model.fused import definitions_only
from cpixelcnn.model.layers import (
    DownRightShiftedConv,
    DownRightShiftedDeconv,
    DownShiftedConv,
    DownShiftedDeconv,
    ElementDropout,
    NetworkInNetwork,
    WeightNormConv,
    concat_elu,
    data_dependent_initialisation,
    down_shift,
    right_shift,
)
from cpixelcnn.model.network import PixelCNN

LAYERS = [DownShiftedConv, DownRightShiftedConv, DownShiftedDeconv, DownRightShiftedDeconv, NetworkInNetwork]


def with_random_scales(layer: WeightNormConv, seed: int = 0) -> WeightNormConv:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.g.copy_(0.5 + torch.rand(layer.g.shape, generator=generator))
        layer.b.copy_(torch.randn(layer.b.shape, generator=generator))
    return layer


# --- Weight normalisation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_class", LAYERS)
def test_norm_of_each_output_channels_weight_is_g(layer_class: type[WeightNormConv]) -> None:
    layer = with_random_scales(layer_class(3, 5))
    weight = layer.weight()
    by_output_channel = weight.transpose(0, 1) if layer.transposed else weight
    assert by_output_channel.shape[:2] == (5, 3)
    torch.testing.assert_close(by_output_channel.flatten(1).norm(dim=1), layer.g.abs())


@pytest.mark.parametrize("layer_class", LAYERS)
def test_g_and_b_belong_to_output_channels(layer_class: type[WeightNormConv]) -> None:
    """Whatever the layout of the weight: scaling one entry of g scales that channel of the output and no other."""
    layer = with_random_scales(layer_class(3, 5))
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    before = layer(x).detach()
    shift = layer.b.detach().clone()
    with torch.no_grad():
        layer.g[2] *= 3.0
        layer.b[4] += 1.0
    expected = before.clone()
    expected[:, 2] = 3.0 * (before[:, 2] - shift[2]) + shift[2]
    expected[:, 4] += 1.0
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer_class", LAYERS)
def test_direction_alone_counts_of_v(layer_class: type[WeightNormConv]) -> None:
    layer = with_random_scales(layer_class(3, 5))
    before = layer.weight().detach()
    with torch.no_grad():
        layer.v *= 7.0
    torch.testing.assert_close(layer.weight(), before)


# --- Sizes and receptive fields -------------------------------------------------------------------------------------


def reach(layer: nn.Module, row: int, column: int, size: tuple[int, int]) -> set[tuple[int, int]]:
    """Input pixels that the output at (row, column) depends on."""
    x = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    output = layer(x)[0, :, row, column]
    (gradient,) = torch.autograd.grad((output * torch.tensor([1.0, 0.7, -0.3])).sum(), x)
    return {(int(r), int(c)) for r, c in gradient[0].abs().sum(dim=0).nonzero()}


def rectangle(rows: range, columns: range) -> set[tuple[int, int]]:
    return {(row, column) for row in rows for column in columns}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (DownShiftedConv(2, 3), rectangle(range(2, 4), range(1, 4))),
        (DownShiftedConv(2, 3, (1, 3)), rectangle(range(3, 4), range(1, 4))),
        (DownShiftedConv(2, 3, stride=2), rectangle(range(5, 7), range(3, 6))),
        (DownRightShiftedConv(2, 3), rectangle(range(2, 4), range(1, 3))),
        (DownRightShiftedConv(2, 3, (2, 1)), rectangle(range(2, 4), range(2, 3))),
        (DownRightShiftedConv(2, 3, stride=2), rectangle(range(5, 7), range(3, 5))),
        (NetworkInNetwork(2, 3), {(3, 2)}),
        (DownRightShiftedDeconv(2, 3), {(1, 1)}),
    ],
    ids=lambda value: f"{type(value).__name__}" if isinstance(value, nn.Module) else "",
)
def test_output_sees_just_its_window(layer: nn.Module, expected: set[tuple[int, int]]) -> None:
    assert reach(layer, 3, 2, (8, 8)) == expected


def test_deconvolution_of_u_stays_within_its_input_row() -> None:
    """Output rows 2i and 2i + 1 come from row i alone, and every output from its own column and a neighbour at most."""
    layer = DownShiftedDeconv(2, 3)
    for row in range(6):
        for column in range(8):
            seen = reach(layer, row, column, (3, 4))
            assert (row // 2, column // 2) in seen
            assert all(r == row // 2 and abs(c - column // 2) <= 1 for r, c in seen)


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (4, 8)])
@pytest.mark.parametrize(
    ("layer", "factor"),
    [
        (DownShiftedConv(2, 3), 1.0),
        (DownShiftedConv(2, 3, (1, 3)), 1.0),
        (DownRightShiftedConv(2, 3), 1.0),
        (DownRightShiftedConv(2, 3, (2, 1)), 1.0),
        (NetworkInNetwork(2, 3), 1.0),
        (DownShiftedConv(2, 3, stride=2), 0.5),
        (DownRightShiftedConv(2, 3, stride=2), 0.5),
        (DownShiftedDeconv(2, 3), 2.0),
        (DownRightShiftedDeconv(2, 3), 2.0),
    ],
)
def test_output_sizes(layer: nn.Module, factor: float, size: tuple[int, int]) -> None:
    assert layer(torch.zeros(2, 2, *size)).shape == (2, 3, size[0] * factor, size[1] * factor)


@pytest.mark.parametrize("layer_class", [DownShiftedConv, DownRightShiftedConv])
def test_same_size_convolutions_take_odd_sizes(layer_class: type[WeightNormConv]) -> None:
    assert layer_class(2, 3)(torch.zeros(1, 2, 5, 7)).shape == (1, 3, 5, 7)


def test_shifts() -> None:
    x = torch.arange(1.0, 7.0).view(1, 1, 2, 3)
    assert down_shift(x).tolist() == [[[[0, 0, 0], [1, 2, 3]]]]
    assert right_shift(x).tolist() == [[[[0, 1, 2], [0, 4, 5]]]]


def test_concat_elu() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0]).view(1, 3, 1, 1)
    expected = [math.exp(-1) - 1, 0.0, 2.0, 1.0, 0.0, math.exp(-2) - 1]
    torch.testing.assert_close(concat_elu(x), torch.tensor(expected).view(1, 6, 1, 1))


# --- Data-dependent initialisation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("image_channels", [1, 3])
def test_initialisation_standardises_every_convolution(
    image_channels: int,
    make_model: Callable[..., PixelCNN],
    make_images: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model(perturb=0, image_channels=image_channels, image_height=8, image_width=8)
    images, labels = make_images(model, 16), torch.arange(16) % 3
    model.train()
    model.initialise(images, labels)
    assert model.training, "the mode is as before"

    outputs: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, WeightNormConv):
            assert not layer.initialising
            layer.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
    with torch.no_grad(), definitions_only():  # so that the convolutions within the blocks are called
        model.eval().distribution(images, labels)
    scales = {name: 0.1 if name.endswith("conv_out") else 1.0 for name in outputs}
    assert len(outputs) == sum(isinstance(layer, WeightNormConv) for layer in model.modules())
    for name, output in outputs.items():
        deviation, mean = torch.std_mean(output, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean / scales[name], torch.zeros_like(mean), rtol=0, atol=1e-3, msg=name)
        torch.testing.assert_close(deviation / scales[name], torch.ones_like(mean), rtol=1e-3, atol=0, msg=name)


def test_initialising_pass_outputs_what_later_passes_output(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """The layers behind see the new output: a later pass on the same batch gives the same numbers."""
    model = make_model(perturb=0.3)
    images, labels = make_images(model, 8), torch.zeros(8, dtype=torch.int64)
    with torch.no_grad():
        before = model.distribution(images, labels).means
        with data_dependent_initialisation(model):
            during = model.distribution(images, labels).means
        after = model.distribution(images, labels).means
    torch.testing.assert_close(during, after, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, after, atol=0.01)


@pytest.mark.parametrize("layer_class", LAYERS)
def test_initialisation_of_each_layer_meets_its_scale(layer_class: type[WeightNormConv]) -> None:
    layer = with_random_scales(layer_class(3, 5))
    layer.init_scale = 0.25
    x = 3.0 + 2.0 * torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), data_dependent_initialisation(layer):
        layer(x)
    deviation, mean = torch.std_mean(layer(x), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(5), rtol=0, atol=1e-4)
    torch.testing.assert_close(deviation, torch.full((5,), 0.25))


def test_initialisation_from_a_constant_batch_is_finite() -> None:
    layer = NetworkInNetwork(3, 5)
    with torch.no_grad(), data_dependent_initialisation(layer):
        output = layer(torch.full((4, 3, 2, 2), 0.5))
    assert all(bool(tensor.isfinite().all()) for tensor in (layer.g, layer.b, output))


def test_initialisation_ends_even_if_the_pass_fails() -> None:
    layer = NetworkInNetwork(3, 5)
    with pytest.raises(RuntimeError), data_dependent_initialisation(layer):
        layer(torch.zeros(1, 4, 2, 2))
    assert not layer.initialising


# --- Dropout --------------------------------------------------------------------------------------------------------


def dropped(p: float, size: tuple[int, ...], seed: int = 0) -> Tensor:
    """Where dropout makes ones zero, as bool."""
    torch.manual_seed(seed)
    return ElementDropout(p).train()(torch.ones(size)) == 0


def assert_fraction(hits: Tensor, p: float) -> None:
    """Fails a correct implementation once in 10^8 seeds: 5.7 standard deviations of a binomial."""
    n = hits.numel()
    assert abs(float(hits.double().mean()) - p) < 5.7 * math.sqrt(p * (1 - p) / n) + 2**-16


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_dropout_drops_a_fraction_p(p: float) -> None:
    assert_fraction(dropped(p, (8, 16, 32, 32)), p)


@pytest.mark.parametrize("p", [0.25, 0.5])
def test_dropout_drops_single_elements_independently(p: float) -> None:
    """Not whole channels, rows or images, nor the elements that share a random word together."""
    mask = dropped(p, (4, 8, 32, 32))
    for dim in range(4):
        for index in mask.movedim(dim, 0):
            assert_fraction(index, p)
    flat = mask.flatten()
    for lag in (1, 2, 3, 4, 8, 32, 1024, 8192):
        assert_fraction((flat[lag:] & flat[:-lag])[:: 2 * lag], p * p)


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
def test_dropout_scales_survivors(p: float) -> None:
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    y = ElementDropout(p).train()(x)
    survivors = y != 0
    assert 0 < int(survivors.sum()) < x.numel()
    torch.testing.assert_close(y[survivors], x[survivors] / (1 - p))


def test_dropout_is_the_identity_in_evaluation_and_at_zero() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(ElementDropout(0.5).eval()(x), x)
    assert torch.equal(ElementDropout(0.0).train()(x), x)


def test_dropout_is_repeatable_by_seed_alone() -> None:
    assert torch.equal(dropped(0.5, (2, 8, 8, 8), seed=3), dropped(0.5, (2, 8, 8, 8), seed=3))
    assert not torch.equal(dropped(0.5, (2, 8, 8, 8), seed=3), dropped(0.5, (2, 8, 8, 8), seed=4))
    torch.manual_seed(3)
    dropout = ElementDropout(0.5).train()
    first, second = dropout(torch.ones(2, 8, 8, 8)), dropout(torch.ones(2, 8, 8, 8))
    assert not torch.equal(first, second), "each pass draws anew"


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (1, 3, 5, 7), (2, 5, 3, 3), (3, 1, 1, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_keeps_size_layout_and_dtype(
    size: tuple[int, ...], memory_format: torch.memory_format, dtype: torch.dtype
) -> None:
    x = torch.full(size, 3.0, dtype=dtype).contiguous(memory_format=memory_format)
    y = ElementDropout(0.5).train()(x)
    assert y.shape == x.shape
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=memory_format)
    assert set(y.unique().tolist()) <= {0.0, 6.0}


def test_dropout_of_a_channels_last_tensor_drops_single_elements() -> None:
    torch.manual_seed(0)
    x = torch.ones(4, 8, 32, 32).contiguous(memory_format=torch.channels_last)
    mask = ElementDropout(0.5).train()(x) == 0
    assert_fraction(mask, 0.5)
    assert_fraction(mask[:, 1::2] & mask[:, ::2], 0.25)
    for dim in range(4):
        for index in mask.movedim(dim, 0):
            assert_fraction(index, 0.5)


def test_gradient_flows_through_survivors_alone() -> None:
    torch.manual_seed(0)
    x = torch.ones(2, 3, 8, 8, requires_grad=True)
    y = ElementDropout(0.75).train()(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(y.detach() != 0, 4.0, 0.0))
    assert torch.equal(x.grad, y.detach())


def test_dropout_changes_nothing_on_average() -> None:
    torch.manual_seed(0)
    x = torch.linspace(-2.0, 3.0, 16)
    mean = ElementDropout(0.5).train()(x.expand(20_000, 16).contiguous()).mean(dim=0)
    torch.testing.assert_close(mean, x, rtol=0.05, atol=0)  # 7 standard deviations


def test_dropout_keeps_a_few_at_a_p_close_to_one() -> None:
    """Also at one that 16 bits cannot tell from 1: some are kept, about as many as should be."""
    p, size = 1 - 1e-5, (8, 64, 64, 64)
    kept = int((~dropped(p, size)).sum())
    assert kept > 0
    assert abs(kept - 21) < 5.7 * math.sqrt(21)
