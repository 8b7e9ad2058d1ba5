"""Log-likelihoods from weights that are folded for one class: against the definition, and where they do not apply."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cpixelcnn.model.conditioning import FiLM
from cpixelcnn.model.fused import definitions_only
from cpixelcnn.model.fused.folded import FoldedBlock, folded_for_class
from cpixelcnn.model.layers import DownRightShiftedConv, DownShiftedConv, GatedResidualBlock
from cpixelcnn.model.network import PixelCNN

FUSIONS = [("vector", "linear"), ("template", "mlp"), ("vector", "none"), ("none", "linear"), ("none", "none")]


@pytest.mark.parametrize("film", [True, False])
@pytest.mark.parametrize("conv", [DownShiftedConv, DownRightShiftedConv])
@pytest.mark.parametrize("nr_skips", [0, 1, 2])
def test_a_block_is_its_definition(
    conv: type[DownShiftedConv] | type[DownRightShiftedConv], nr_skips: int, film: bool
) -> None:
    torch.manual_seed(0)
    block = GatedResidualBlock(conv, 3, 3 * nr_skips, 0.5, FiLM(4, 6) if film else None).double().eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x, *skips = (torch.randn(2, 3, 5, 6, dtype=torch.float64) for _ in range(1 + nr_skips))
    embedding = torch.randn(1, 4, dtype=torch.float64)
    with torch.no_grad():
        with definitions_only():
            expected = block(x, skips, embedding.expand(2, -1))
        torch.testing.assert_close(FoldedBlock(block, embedding)(x, skips), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("early_fusion", "film"), FUSIONS)
@pytest.mark.parametrize("image_channels", [1, 3])
def test_log_likelihoods_are_the_models_to_rounding(
    make_model: Callable[..., PixelCNN],
    make_images: Callable[..., Tensor],
    early_fusion: str,
    film: str,
    image_channels: int,
) -> None:
    model = make_model(early_fusion=early_fusion, film=film, image_channels=image_channels, image_width=10).eval()
    images = make_images(model, 3)
    label = 2 if model.config.conditional else None
    labels = None if label is None else torch.full((3,), label)
    with torch.no_grad():
        expected = model.log_prob(images, labels)
        with folded_for_class(model, label):
            assert all(block.folded is not None for block in blocks(model))
            found = model.log_prob(images, labels)
        assert torch.equal(model.log_prob(images, labels), expected)
    assert not torch.equal(found, expected)  # computed in another way
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def blocks(model: PixelCNN) -> list[GatedResidualBlock]:
    return [module for module in model.modules() if isinstance(module, GatedResidualBlock)]


def test_gradients_are_those_of_the_model(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """Where somebody wants gradients all the same, the folded weights are not used."""
    model = make_model()
    images, labels = make_images(model, 2), torch.tensor([1, 1])
    with torch.enable_grad(), folded_for_class(model, 1):
        log_probs = model.log_prob(images, labels)
        log_probs.sum().backward()
    assert torch.equal(log_probs.detach(), model.log_prob(images, labels))
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if name.endswith(".v"))


def test_a_forward_pass_of_ones_own_is_left_as_it_is(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """It may ask for other classes: here for the next one."""

    class Shifted(PixelCNN):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
            assert labels is not None
            return super().forward(x, (labels + 1) % self.config.nr_classes)

    model = make_model()
    shifted = Shifted(model.config).eval()
    shifted.load_state_dict(model.state_dict())
    images = make_images(model, 2)
    with torch.no_grad(), folded_for_class(shifted, 0):
        found = shifted.log_prob(images, torch.tensor([0, 0]))
    assert shifted.overrides_forward
    assert not model.overrides_forward
    assert torch.equal(found, model.log_prob(images, torch.tensor([1, 1])))


def test_ends_after_an_error(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model()
    with pytest.raises(KeyboardInterrupt), folded_for_class(model, 0):
        raise KeyboardInterrupt
    assert all(block.folded is None for block in blocks(model))
