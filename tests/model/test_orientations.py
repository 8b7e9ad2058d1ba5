"""A network that tells orientations apart: upright images are as if there were no others, turned ones a model apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cpixelcnn.errors import ConfigError
from cpixelcnn.model.conditioning import NR_TURNS, turned
from cpixelcnn.model.network import PixelCNN, pixel_log_probs
from cpixelcnn.model.orientations import in_orientation

Make = Callable[..., PixelCNN]
Images = Callable[..., Tensor]

FUSIONS = [("template", "linear"), ("vector", "mlp"), ("none", "linear")]
LABELS = torch.tensor([0, 1, 2, 0, 1])


@pytest.fixture(params=FUSIONS, ids="-".join)
def model(request: pytest.FixtureRequest, make_model: Make) -> PixelCNN:
    """Of images of 4 x 4, like the template."""
    early_fusion, film = request.param
    return make_model(early_fusion=early_fusion, film=film, nr_orientations=NR_TURNS).double()


@pytest.fixture
def images(model: PixelCNN, make_images: Images) -> Tensor:
    return make_images(model, len(LABELS))


def test_an_image_that_is_told_to_be_upright_is_seen_as_if_nothing_were_told(model: PixelCNN, images: Tensor) -> None:
    told = pixel_log_probs(model, images, LABELS, orientations=torch.zeros_like(LABELS))
    torch.testing.assert_close(told, pixel_log_probs(model, images, LABELS))


def test_each_orientation_is_a_network_of_its_own(model: PixelCNN, images: Tensor) -> None:
    """It gives turned images what the whole network gives them when it is told, and forgets that there are others."""
    orientations = torch.tensor([1, 2, 3, 2, 1])
    images = torch.stack([turned(image, int(k)) for image, k in zip(images, orientations, strict=True)])
    told = pixel_log_probs(model, images, LABELS, orientations=orientations).sum(dim=(1, 2))
    for k in (1, 2, 3):
        of_one = in_orientation(model, k)
        its = orientations == k
        torch.testing.assert_close(of_one.log_prob(images[its], LABELS[its]), told[its], rtol=1e-12, atol=0)
        assert of_one.config == dataclasses.replace(model.config, nr_orientations=1)
        assert not torch.allclose(model.log_prob(images[its], LABELS[its]), told[its])
    assert in_orientation(model, 0) is model


def test_a_template_is_turned_like_the_image(make_model: Make) -> None:
    model = make_model(early_fusion="template", nr_orientations=NR_TURNS)
    assert model.early_fusion is not None
    image, labels = torch.zeros(1, 3, 4, 4), torch.tensor([2])
    for k in range(NR_TURNS):
        fused = model.early_fusion(image, labels, torch.tensor([k]))
        assert torch.equal(fused, turned(model.early_fusion(image, labels), k))
    corner = turned(torch.arange(16).view(4, 4), 1)[0, 0]
    assert corner == 3  # to the left: what was above on the right comes to the left


def test_the_vector_of_upright_images_is_zero_and_stays_so(make_model: Make, make_images: Images) -> None:
    model = make_model(perturb=0, nr_orientations=NR_TURNS)
    for block in (module for module in model.modules() if hasattr(module, "modulation")):
        torch.nn.init.normal_(block.modulation[-1].weight)
    assert model.orientation_embedding is not None
    weight = model.orientation_embedding.weight
    assert torch.equal(weight[0], torch.zeros(4))
    assert (weight[1:] != 0).all()
    pixel_log_probs(model, make_images(model, 5), LABELS, orientations=torch.tensor([0, 0, 1, 2, 3])).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad[0], torch.zeros(4))
    assert (weight.grad[1:] != 0).any(dim=1).all()


@pytest.mark.parametrize(("nr_orientations", "quarter_turns"), [(1, 1), (4, 4), (4, -1)])
def test_an_orientation_that_is_not_known(make_model: Make, nr_orientations: int, quarter_turns: int) -> None:
    with pytest.raises(ConfigError, match="none of them; train one with `nr_orientations` 4"):
        in_orientation(make_model(nr_orientations=nr_orientations), quarter_turns)


def test_a_forward_pass_of_ones_own_is_kept(make_model: Make, make_images: Images) -> None:
    class Doubled(PixelCNN):
        def forward(self, x: Tensor, labels: Tensor | None = None, orientations: Tensor | None = None) -> Tensor:
            return 2 * super().forward(x, labels, orientations)

    model = make_model(nr_orientations=NR_TURNS)
    doubled = Doubled(model.config).eval()
    doubled.load_state_dict(model.state_dict())
    images = make_images(model, len(LABELS))
    of_one = in_orientation(doubled, 2)
    assert of_one.overrides_forward
    told = pixel_log_probs(doubled, images, LABELS, orientations=torch.full_like(LABELS, 2)).sum(dim=(1, 2))
    torch.testing.assert_close(of_one.log_prob(images, LABELS).float(), told, rtol=1e-5, atol=1e-3)
