"""Views of an image: the mean of their log-likelihoods, whatever the order of the views."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cpixelcnn.errors import ConfigError
from cpixelcnn.evaluation.class_log_probs import class_log_probs
from cpixelcnn.evaluation.classify import classify
from cpixelcnn.evaluation.views import VIEWS, view_log_probs
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.orientations import in_orientation


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model()


@pytest.fixture(scope="module")
def images(model: PixelCNN, make_images: Callable[..., Tensor]) -> Tensor:
    return make_images(model, 5)


def test_each_view_is_scored_by_itself(model: PixelCNN, images: Tensor) -> None:
    seen = view_log_probs(model, images, views=2)
    assert seen.shape == (2, 5, 3)
    assert torch.equal(seen[0], class_log_probs(model, images))
    assert torch.equal(seen[1], class_log_probs(model, images.flip(3)))
    assert not torch.equal(seen[0], seen[1])


def test_one_view_is_the_image(model: PixelCNN, images: Tensor) -> None:
    assert torch.equal(classify(model, images, views=1).log_likelihoods, class_log_probs(model, images))


def test_an_image_and_its_mirror_image_are_classified_alike(model: PixelCNN, images: Tensor) -> None:
    one, other = classify(model, images, views=2), classify(model, images.flip(3), views=2)
    assert torch.equal(one.log_likelihoods, other.log_likelihoods)
    single = classify(model, images).log_posteriors
    assert not torch.allclose(single, classify(model, images.flip(3)).log_posteriors)


def test_the_mean_is_of_log_p_and_not_of_p(model: PixelCNN, images: Tensor) -> None:
    seen = view_log_probs(model, images, views=2)
    result = classify(model, images, views=2)
    torch.testing.assert_close(result.log_likelihoods, (seen[0] + seen[1]) / 2)


def test_the_views_are_all_that_turning_and_mirroring_makes_of_an_image() -> None:
    """The eight symmetries of the square, the image itself first and its mirror image second."""
    image = torch.arange(9).view(1, 3, 3)
    seen = {tuple(view.of(image).flatten().tolist()) for view in VIEWS}
    assert len(seen) == len(VIEWS) == 8
    assert {tuple(view.of(image.mT).flatten().tolist()) for view in VIEWS} == seen
    assert torch.equal(VIEWS[0].of(image), image)
    assert torch.equal(VIEWS[1].of(image), image.flip(2))
    assert all(torch.equal(view.back(view.of(image)), image) for view in VIEWS)


def test_each_turned_view_is_scored_by_the_network_of_its_orientation(
    make_model: Callable[..., PixelCNN], images: Tensor
) -> None:
    model = make_model(nr_orientations=4)
    seen = view_log_probs(model, images, views=8)
    assert seen.shape == (8, 5, 3)
    assert torch.equal(seen[:2], view_log_probs(model, images, views=2))
    for number, view in enumerate(VIEWS):
        of_view = in_orientation(model, view.quarter_turns)
        assert torch.equal(seen[number], class_log_probs(of_view, view.of(images)))


def test_quarter_turns_are_for_models_that_know_them(model: PixelCNN, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="`views` 8 is for models that tell orientations apart"):
        view_log_probs(model, images, views=8)


def test_progress_counts_all_views(model: PixelCNN, images: Tensor) -> None:
    calls: list[tuple[int, int]] = []
    view_log_probs(model, images, views=2, batch_size=2, progress=lambda done, total: calls.append((done, total)))
    assert {total for _, total in calls} == {30}
    done = [done for done, _ in calls]
    assert done == sorted(set(done))
    assert done[-1] == 30


@pytest.mark.parametrize("views", [0, 3, 4, -1])
def test_other_numbers_of_views(views: int, model: PixelCNN, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="`views` must be 1"):
        view_log_probs(model, images, views=views)
