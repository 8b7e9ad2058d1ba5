"""The class in the network: FiLM and early fusion by their formulas, that they matter, train and survive dropout."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cpixelcnn.model.conditioning import ClassTemplateFusion, ClassVectorFusion, FiLM
from cpixelcnn.model.fused import definitions_only
from cpixelcnn.model.layers import DownRightShiftedConv, DownShiftedConv, GatedResidualBlock
from cpixelcnn.model.network import PixelCNN

FUSIONS = [(early, film) for early in ("vector", "template", "none") for film in ("linear", "mlp", "none")]
CONDITIONAL = [fusion for fusion in FUSIONS if fusion != ("none", "none")]


@pytest.mark.parametrize("hidden_dim", [None, 7])
def test_film_starts_as_exactly_the_identity(hidden_dim: int | None) -> None:
    film = FiLM(4, 6, hidden_dim)
    h = 100 * torch.randn(3, 6, 5, 5)
    assert torch.equal(film(h, 100 * torch.randn(3, 4)), h)


@pytest.mark.parametrize("hidden_dim", [None, 7])
def test_film_by_its_formula(hidden_dim: int | None) -> None:
    """h' = gamma * h + beta, where the last layer's first half is gamma - 1 and its second half beta."""
    torch.manual_seed(0)
    film = FiLM(4, 6, hidden_dim)
    for parameter in film.parameters():
        nn.init.normal_(parameter)
    h, embedding = torch.randn(3, 6, 5, 5), torch.randn(3, 4)
    x = embedding
    if hidden_dim is not None:
        x = torch.tanh(x @ film.modulation[0].weight.T + film.modulation[0].bias)
    numbers = x @ film.modulation[-1].weight.T + film.modulation[-1].bias
    gamma, beta = 1 + numbers[:, :6], numbers[:, 6:]
    expected = torch.stack(
        [torch.stack([gamma[n, channel] * h[n, channel] + beta[n, channel] for channel in range(6)]) for n in range(3)]
    )
    torch.testing.assert_close(film(h, embedding), expected)


@pytest.mark.parametrize("early_fusion", [ClassVectorFusion(2, 3), ClassTemplateFusion(2, 3, 4, 5)])
def test_fusions_refuse_an_unknown_label(early_fusion: nn.Module) -> None:
    """A label of -1 is not taken for the last class."""
    with pytest.raises(IndexError):
        early_fusion(torch.zeros(1, 3, 4, 5), torch.tensor([-1]))


def test_film_linear_has_one_layer_and_mlp_two() -> None:
    assert sum(isinstance(module, nn.Linear) for module in FiLM(4, 6).modules()) == 1
    assert [tuple(m.weight.shape) for m in FiLM(4, 6, 7).modules() if isinstance(m, nn.Linear)] == [(7, 4), (12, 7)]


def test_vector_fusion_adds_one_number_to_each_channel() -> None:
    fusion = ClassVectorFusion(2, 3)
    with torch.no_grad():
        fusion.z.copy_(torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]))
    x = torch.randn(2, 3, 4, 5)
    y = fusion(x, torch.tensor([1, 0]))
    for image, row in enumerate(([10.0, 20.0, 30.0], [1.0, 2.0, 3.0])):
        for channel, shift in enumerate(row):
            torch.testing.assert_close(y[image, channel], x[image, channel] + shift)


def test_template_fusion_adds_an_image() -> None:
    fusion = ClassTemplateFusion(2, 3, 4, 5)
    nn.init.normal_(fusion.z)
    x = torch.randn(2, 3, 4, 5)
    y = fusion(x, torch.tensor([1, 0]))
    torch.testing.assert_close(y, x + torch.stack([fusion.z[1], fusion.z[0]]))


@pytest.mark.parametrize("early_fusion", ["vector", "template"])
@pytest.mark.parametrize("size", [(4, 4), (5, 6)])
def test_early_fusion_leaves_the_channel_of_ones_and_the_padding_alone(
    early_fusion: str, size: tuple[int, int], make_model: Callable[..., PixelCNN]
) -> None:
    height, width = size
    model = make_model(early_fusion=early_fusion, image_height=height, image_width=width)
    seen: list[Tensor] = []
    for layer in (model.u_in, model.ul_in_above, model.ul_in_left):
        layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    x, labels = torch.randn(2, 3, height, width), torch.tensor([2, 1])
    model(x, labels)
    z = model.early_fusion.z.detach()[labels]
    expected = x + (z[:, :, None, None] if early_fusion == "vector" else z)
    assert len(seen) == 3
    for network_input in seen:
        assert network_input.shape[2] % 4 == 0
        assert network_input.shape[3] % 4 == 0
        inside = network_input[:, :, :height, :width]
        torch.testing.assert_close(inside[:, :3], expected)
        assert bool((inside[:, 3] == 1).all()), "the ones mark what is image"
        assert not network_input[:, :, height:].any(), "nothing below the image"
        assert not network_input[:, :, :, width:].any(), "nothing to the right of it"


@pytest.mark.parametrize(("early_fusion", "film"), CONDITIONAL)
def test_different_labels_give_different_distributions(
    early_fusion: str, film: str, make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model(early_fusion=early_fusion, film=film)
    images = make_images(model, 1).expand(3, -1, -1, -1)
    log_probs = model.log_prob(images, torch.arange(3)).detach()
    assert len({round(float(value), 2) for value in log_probs}) == 3


@pytest.mark.parametrize("early_fusion", ["vector", "template"])
def test_early_fusion_does_not_move_the_target(
    early_fusion: str, make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """The likelihood is that of the image itself under the parameters that the network gave."""
    model = make_model(early_fusion=early_fusion)
    images, labels = make_images(model, 3), torch.arange(3)
    expected = model.distribution(images, labels).log_prob(images).sum(dim=(1, 2))
    torch.testing.assert_close(model.log_prob(images, labels).float(), expected)
    total = sum(
        model.distribution(images, labels).value_log_probs(channel, images).gather(1, images[:, channel, None].long())
        for channel in range(3)
    )
    torch.testing.assert_close(model.log_prob(images, labels).float(), total.sum(dim=(1, 2, 3)), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("early_fusion", "film"), FUSIONS)
def test_every_parameter_gets_a_gradient_after_one_step(
    early_fusion: str, film: str, make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """(At the very start the embedding has none, since the last layer of FiLM is zero.)"""
    model = make_model(perturb=0, early_fusion=early_fusion, film=film, image_height=8, image_width=8)
    images, labels = make_images(model, 6), torch.arange(6) % 3
    model.initialise(images, labels)
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(model.train().parameters(), lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        (-model.log_prob(images, labels)).mean().backward()
        optimiser.step()
    without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert not without
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("conv", [DownShiftedConv, DownRightShiftedConv])
def test_film_sits_behind_the_dropout(conv: type[DownShiftedConv]) -> None:
    """With everything dropped, the block outputs x + beta_a * sigmoid(beta_b) exactly: beta arrives whole."""
    torch.manual_seed(0)
    film = FiLM(4, 6)
    block = GatedResidualBlock(conv, 3, 0, 0.999, film).train()
    nn.init.normal_(film.modulation[-1].bias)
    block.dropout.mask = lambda x: torch.zeros_like(x, dtype=torch.int8)  # type: ignore[method-assign]
    x = torch.randn(2, 3, 4, 4)
    beta = film.modulation[-1].bias[6:].detach()
    expected = x + (beta[:3] * torch.sigmoid(beta[3:]))[None, :, None, None]
    torch.testing.assert_close(block(x, (), torch.zeros(2, 4)), expected)
    with definitions_only():
        torch.testing.assert_close(block(x, (), torch.zeros(2, 4)), expected)


def test_film_reaches_the_output_of_a_network_that_drops_nearly_everything(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """The three images and their masks are (nearly) the same, so what differs comes from the labels."""
    model = make_model(early_fusion="none", film="linear", dropout=0.9999)
    images = make_images(model, 1).expand(3, -1, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        same = model.train().distribution(images, torch.zeros(3, dtype=torch.int64)).means
        means = model.distribution(images, torch.arange(3)).means
    typical_difference = (same[0] - same[1]).abs().median()
    assert (means[0] - means[1]).abs().median() > 10 * typical_difference + 0.01
    assert (means[1] - means[2]).abs().median() > 10 * typical_difference + 0.01
