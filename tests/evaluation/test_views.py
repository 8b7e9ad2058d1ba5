"""Views of an image: the mean of their log-likelihoods, whatever the order of the views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.datasets.crops import CORNERS, Crop
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.evaluation.class_log_probs import class_log_probs
from cpixelcnn.evaluation.classify import classify
from cpixelcnn.evaluation.views import VIEWS, crops_for, placed, view_log_probs
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
    views = VIEWS[8]
    seen = {tuple(view.of(image).flatten().tolist()) for view in views}
    assert len(seen) == len(views) == 8
    assert {tuple(view.of(image.mT).flatten().tolist()) for view in views} == seen
    assert torch.equal(views[0].of(image), image)
    assert torch.equal(views[1].of(image), image.flip(2))
    assert all(torch.equal(view.back(view.of(image)), image) for view in views)


def test_fewer_views_are_the_first_of_more() -> None:
    assert VIEWS[10][:2] == VIEWS[8][:2] == VIEWS[2]
    assert VIEWS[2][:1] == VIEWS[1]
    assert all(len(views) == len(set(views)) == number for number, views in VIEWS.items())
    assert [crops_for(number) for number in (1, 2, 3, 8, 10)] == [(), (), (), (), CORNERS]


def test_ten_views_are_two_of_the_image_and_two_of_each_corner(
    model: PixelCNN, images: Tensor, make_images: Callable[..., Tensor]
) -> None:
    crops = torch.stack([make_images(model, 5, seed=9 + corner) for corner in range(4)])
    seen = view_log_probs(model, images, crops=crops, views=10)
    expected = [view_log_probs(model, each, views=2) for each in (images, *crops)]
    assert torch.equal(seen, torch.cat(expected))
    found = classify(model, images, crops=crops, views=10)
    torch.testing.assert_close(found.log_likelihoods, seen.mean(dim=0))


def test_an_image_that_stands_in_for_its_corners_is_scored_once(
    model: PixelCNN, images: Tensor, make_images: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = images.repeat(4, 1, 1, 1, 1)
    crops[1:3, 3] = make_images(model, 1, seed=9)  # two corners of one image alone
    expected = torch.cat([view_log_probs(model, each, views=2) for each in (images, *crops)])
    scored: list[int] = []

    def counted(model: PixelCNN, images: Tensor, **options: Any) -> Tensor:
        scored.append(len(images))
        return class_log_probs(model, images, **options)

    monkeypatch.setattr("cpixelcnn.evaluation.views.class_log_probs", counted)
    seen = view_log_probs(model, images, crops=crops, views=10)
    torch.testing.assert_close(seen, expected)
    assert scored == [5, 5, 0, 0, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("number", [None, 0, 3])
def test_ten_views_need_four_corners(model: PixelCNN, images: Tensor, number: int | None) -> None:
    crops = None if number is None else images.expand(number, *images.shape)
    with pytest.raises(DataError, match="10 views need `crops`, the four corners"):
        view_log_probs(model, images, crops=crops, views=10)


def test_a_map_of_a_crop_is_laid_where_the_crop_is() -> None:
    """The crop has 9 of 10 columns, from the second on, and 9 of 10 rows, so that its pixels have a side of 0.9."""
    crop = Crop(0.9, 1.0, 0.0)
    maps = torch.zeros(2, 10, 10, dtype=torch.float64)
    maps[0, 0, 1] = 9.0  # columns 1.9 to 2.8, row 0 to 0.9
    maps[1] = 1.0
    found = placed(maps, crop)
    torch.testing.assert_close(found.sum(dim=(1, 2)), maps.sum(dim=(1, 2)))
    torch.testing.assert_close(found[0, 0, :4], torch.tensor([0.0, 1.0, 8.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(found[1, :9, 1:], torch.full((9, 9), 1 / 0.81, dtype=torch.float64))
    outside = torch.cat([found[1, 9], found[1, :, 0]])
    torch.testing.assert_close(outside, torch.zeros(20, dtype=torch.float64))


@pytest.mark.parametrize("crop", CORNERS)
def test_a_map_keeps_its_sum_whatever_the_size(crop: Crop) -> None:
    maps = torch.randn(3, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(placed(maps, crop).sum(dim=(1, 2)), maps.sum(dim=(1, 2)))


def test_each_turned_view_is_scored_by_the_network_of_its_orientation(
    make_model: Callable[..., PixelCNN], images: Tensor
) -> None:
    model = make_model(nr_orientations=4)
    seen = view_log_probs(model, images, views=8)
    assert seen.shape == (8, 5, 3)
    assert torch.equal(seen[:2], view_log_probs(model, images, views=2))
    for number, view in enumerate(VIEWS[8]):
        of_view = in_orientation(model, view.quarter_turns)
        assert torch.equal(seen[number], class_log_probs(of_view, view.of(images)))


def test_quarter_turns_are_for_models_that_know_them(model: PixelCNN, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="`views` 8 is for models that tell orientations apart"):
        view_log_probs(model, images, views=8)


def test_ten_views_are_for_square_images(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model(image_width=6)
    with pytest.raises(ConfigError, match="`views` 10 is for models of square images"):
        view_log_probs(model, make_images(model, 2), views=10)


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
