"""Maps of bits and of evidence: their means and sums are the numbers that they explain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cpixelcnn.datasets.crops import CORNERS
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.evaluation.bits_per_dim import bits_per_dim
from cpixelcnn.evaluation.pixel_maps import bits_map, evidence_map
from cpixelcnn.evaluation.views import placed, view_log_probs
from cpixelcnn.model.network import PixelCNN

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "RGB"])
def model(request: pytest.FixtureRequest, make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model(image_channels=request.param, image_width=6)


@pytest.fixture
def images(model: PixelCNN, make_images: Callable[..., Tensor]) -> Tensor:
    return make_images(model, 7)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_the_mean_of_the_bits_map_is_bits_per_dim(model: PixelCNN, images: Tensor, batch_size: int) -> None:
    found = bits_map(model, images, LABELS, batch_size=batch_size)
    assert found.conditional
    assert found.bits.shape == images.shape[1:]
    assert found.per_pixel.shape == images.shape[2:]
    assert found.bpd == pytest.approx(bits_per_dim(model, images, LABELS).bpd, rel=1e-6)
    assert sum(found.per_channel) / len(found.per_channel) == pytest.approx(found.bpd)
    assert float(found.per_pixel.mean()) == pytest.approx(found.bpd)


@pytest.mark.parametrize("prior", ["uniform", [0.0, 3.0, 1.0], "estimated"])
def test_without_labels_the_map_is_of_the_marginal(model: PixelCNN, images: Tensor, prior: str | list[float]) -> None:
    found = bits_map(model, images, torch.tensor([0, -1, 1, 1, 1, 1, 1]), prior=prior, batch_size=3)
    assert not found.conditional
    assert found.bpd == pytest.approx(bits_per_dim(model, images, prior=prior).bpd_marginal, rel=1e-6)


def test_the_first_pixel_of_the_marginal_is_a_mixture_over_classes(model: PixelCNN, images: Tensor) -> None:
    each = [bits_map(model, images[:1], torch.tensor([label])).bits[0, 0, 0] for label in range(3)]
    mixture = -torch.log2(torch.stack([2**-bits for bits in each]).mean())
    torch.testing.assert_close(bits_map(model, images[:1]).bits[0, 0, 0], mixture)


def test_an_unconditional_model_has_a_map(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model(early_fusion="none", film="none")
    images = make_images(model, 3)
    found = bits_map(model, images, LABELS[:3])
    assert not found.conditional
    assert found.bpd == pytest.approx(bits_per_dim(model, images).bpd_marginal, rel=1e-6)


def test_no_images_have_no_map(model: PixelCNN, images: Tensor) -> None:
    with pytest.raises(DataError, match="no images"):
        bits_map(model, images[:0])
    assert evidence_map(model, images[:0], [], []).shape == (0, *images.shape[2:])


@pytest.mark.parametrize("views", [1, 2, 8, 10])
def test_evidence_sums_to_the_difference_of_log_likelihoods(
    model: PixelCNN, make_model: Callable[..., PixelCNN], images: Tensor, views: int
) -> None:
    if views == 8:
        model = make_model(image_channels=model.config.image_channels, nr_orientations=4).double()
        images = images[:, :, :, :4].contiguous()
    if views == 10:
        model, images = make_model(image_channels=model.config.image_channels), images[:, :, :, :4].contiguous()
    second = (LABELS + 1) % 3
    crops = torch.stack([images.roll(n, dims=0) for n in range(4)]) if views == 10 else None
    found = evidence_map(model, images, LABELS, second, crops=crops, views=views, batch_size=3)
    log_likelihoods = view_log_probs(model, images, crops=crops, views=views).mean(dim=0)
    rows = torch.arange(7)
    difference = log_likelihoods[rows, LABELS] - log_likelihoods[rows, second]
    torch.testing.assert_close(found.sum(dim=(1, 2)), difference, rtol=1e-6, atol=1e-5)
    assert float(found.abs().min()) < float(found.abs().max())


def test_evidence_of_corners_lies_where_they_do(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """The first image stands in for its own corners, as one that is too small does."""
    model = make_model()
    images = make_images(model, 7)
    crops = torch.stack([torch.cat([images[:1], images[1:].roll(1 + n, dims=0)]) for n in range(4)])
    found = evidence_map(model, images, [0] * 7, [1] * 7, crops=crops, views=10)
    of_image, *of_corners = (evidence_map(model, each, [0] * 7, [1] * 7, views=2) for each in (images, *crops))
    laid = [placed(maps, crop) for maps, crop in zip(of_corners, CORNERS, strict=True)]
    torch.testing.assert_close(found[0], of_image[0])
    torch.testing.assert_close(found[1:], torch.stack([of_image, *laid]).mean(dim=0)[1:])
    with pytest.raises(DataError, match="corners"):
        evidence_map(model, images, [0] * 7, [1] * 7, views=10)


def test_evidence_is_antisymmetric_and_nothing_against_itself(model: PixelCNN, images: Tensor) -> None:
    for_it = evidence_map(model, images, [1] * 7, [2] * 7)
    assert torch.equal(evidence_map(model, images, [2] * 7, [1] * 7), -for_it)
    assert not evidence_map(model, images, LABELS, LABELS).any()


def test_evidence_at_a_pixel_depends_on_no_later_one(model: PixelCNN, images: Tensor) -> None:
    changed = images.clone()
    changed[:, :, 2, 3:] = 255 - changed[:, :, 2, 3:]
    changed[:, :, 3] = 7
    before, after = (evidence_map(model, x, [0] * 7, [1] * 7) for x in (images, changed))
    torch.testing.assert_close(before[:, :2], after[:, :2])
    torch.testing.assert_close(before[:, 2, :3], after[:, 2, :3])
    assert not torch.allclose(before[:, 2, 3], after[:, 2, 3])


def test_evidence_refuses_other_views_and_classes(model: PixelCNN, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="views"):
        evidence_map(model, images, LABELS, LABELS, views=3)
    with pytest.raises(DataError, match=r"0\.\.2"):
        evidence_map(model, images, LABELS, LABELS + 1)
