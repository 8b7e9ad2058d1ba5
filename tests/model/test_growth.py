"""A grown network gives every image the likelihood of the one it grew from, and its copies learn different things."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cpixelcnn.errors import ConfigError
from cpixelcnn.model.growth import grow
from cpixelcnn.model.network import PixelCNN

Make = Callable[..., PixelCNN]
Images = Callable[..., Tensor]

FUSIONS = [("template", "linear"), ("vector", "mlp"), ("none", "none")]


@pytest.mark.parametrize(("early_fusion", "film"), FUSIONS)
@pytest.mark.parametrize(
    "growth", [{"nr_filters": 8}, {"nr_filters": 7}, {"nr_resnets": 3}, {"nr_filters": 9, "nr_resnets": 2}]
)
@pytest.mark.parametrize("image_channels", [1, 3])
def test_the_likelihood_stays(
    make_model: Make, make_images: Images, early_fusion: str, film: str, growth: dict[str, int], image_channels: int
) -> None:
    model = make_model(early_fusion=early_fusion, film=film, image_channels=image_channels, nr_resnets=1).double()
    grown = grow(model, dataclasses.replace(model.config, **growth))
    images = make_images(model, 3)
    labels = torch.tensor([0, 1, 2]) if model.config.conditional else None
    with torch.no_grad():
        expected, found = model.log_prob(images, labels), grown.log_prob(images, labels)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    assert grown.nr_parameters() > model.nr_parameters()


def test_copies_learn_different_things(make_model: Make, make_images: Images) -> None:
    """With equal parts for the copies, each pair of them would have the same gradient."""
    model = make_model().double()
    grown = grow(model, dataclasses.replace(model.config, nr_filters=8))
    grown.log_prob(make_images(model, 4), torch.tensor([0, 1, 2, 0])).sum().backward()
    for name, parameter in grown.named_parameters():
        if name.endswith("conv_in.v"):
            assert parameter.grad is not None
            first, second = parameter.grad.split(4)
            assert not torch.allclose(first, second, rtol=0.1), name


def test_another_size_of_images(make_model: Make) -> None:
    """A template keeps its mean and its place; everything else is the same at every pixel."""
    model = make_model(early_fusion="template")
    assert model.early_fusion is not None
    model.early_fusion.z.data[:, :, :2] = 1.0
    model.early_fusion.z.data[:, :, 2:] = -1.0
    grown = grow(model, dataclasses.replace(model.config, image_height=8, image_width=6))
    assert grown.early_fusion is not None
    template = grown.early_fusion.z
    assert template.shape == (3, 3, 8, 6)
    assert (template[:, :, :3] > 0.5).all()
    assert (template[:, :, 5:] < -0.5).all()
    others = {name: tensor for name, tensor in model.state_dict().items() if name != "early_fusion.z"}
    assert all(torch.equal(grown.state_dict()[name], tensor) for name, tensor in others.items())


def test_turned_images_are_new_and_upright_ones_are_not(make_model: Make, make_images: Images) -> None:
    model = make_model(early_fusion="template").double()
    grown = grow(model, dataclasses.replace(model.config, nr_orientations=4, nr_filters=8))
    images, labels = make_images(model, 3), torch.tensor([0, 1, 2])
    torch.testing.assert_close(grown.log_prob(images, labels), model.log_prob(images, labels), rtol=1e-10, atol=0)
    assert grown.orientation_embedding is not None
    assert (grown.orientation_embedding.weight[1:] != 0).all()
    again = grow(grown, dataclasses.replace(grown.config, nr_resnets=2))
    assert again.orientation_embedding is not None
    assert torch.equal(again.orientation_embedding.weight, grown.orientation_embedding.weight)


def test_the_source_and_the_generator_stay(make_model: Make) -> None:
    model = make_model()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    grow(model, dataclasses.replace(model.config, nr_filters=8, nr_resnets=2))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "change",
    [{"nr_filters": 3}, {"nr_orientations": 1}, {"nr_logistic_mix": 3}, {"film": "mlp"}, {"classes": ("ant", "bee")}],
)
def test_what_does_not_grow_is_refused(make_model: Make, change: dict[str, object]) -> None:
    model = make_model(nr_orientations=4)
    with pytest.raises(ConfigError, match="grows in `nr_filters`"):
        grow(model, dataclasses.replace(model.config, **change))
