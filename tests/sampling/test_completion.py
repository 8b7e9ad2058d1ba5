"""Completing images: what is given stays, and what follows is drawn as if it had been drawn itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.sampling.completion import plan_completions
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.sample import sample

LABELS = [0, 1, 2, 2, 1]
HEIGHT = 6
OPTIONS = {
    "incremental": SamplingOptions(),
    "naive": SamplingOptions(sampler="naive"),
    "bfloat16": SamplingOptions(precision="bfloat16"),
    "guided": SamplingOptions(guidance=1.0),
    "tempered": SamplingOptions(mixture_temperature=0.5, scale_temperature=0.7),
}
how = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model(image_height=HEIGHT, image_width=5)


@pytest.fixture(scope="module")
def given(model: PixelCNN, make_images: Callable[..., Tensor]) -> Tensor:
    return make_images(model, len(LABELS))


# --- From what is given ---------------------------------------------------------------------------------------------


@how
@pytest.mark.parametrize("from_row", [1, 5])
def test_rows_above_stay_bit_for_bit(from_row: int, options: SamplingOptions, model: PixelCNN, given: Tensor) -> None:
    before = given.clone()
    completed = sample(model, LABELS, seed=2, given=given, from_row=from_row, options=options).images
    assert torch.equal(completed[:, :, :from_row], given[:, :, :from_row])
    assert not torch.equal(completed[:, :, from_row:], given[:, :, from_row:])
    assert torch.equal(given, before), "what is given is not written to"


@how
def test_from_the_first_row_is_plain_sampling(options: SamplingOptions, model: PixelCNN, given: Tensor) -> None:
    plain = sample(model, LABELS, seed=2, options=options).images
    assert torch.equal(sample(model, LABELS, seed=2, given=given, options=options).images, plain)


@how
def test_from_behind_the_last_row_is_the_image(options: SamplingOptions, model: PixelCNN, given: Tensor) -> None:
    completed = sample(model, LABELS, given=given, from_row=HEIGHT, options=options)
    assert torch.equal(completed.images, given)


@pytest.mark.parametrize(
    ("name", "batch_size"),
    [
        ("incremental", 64),
        ("incremental", 2),
        ("bfloat16", 64),
        ("tempered", 64),
        pytest.param("naive", 64, marks=pytest.mark.slow),
    ],
)
def test_completing_a_sample_from_its_own_noise_gives_it_back(name: str, batch_size: int, model: PixelCNN) -> None:
    """From any row: the rows that are kept were computed on just as those that were drawn."""
    options = OPTIONS[name]
    images = sample(model, LABELS, seed=2, options=options, batch_size=batch_size).images
    for from_row in (1, 4, HEIGHT) if name == "naive" else range(HEIGHT + 1):
        again = sample(
            model, LABELS, seed=2, given=images, from_row=from_row, options=options, batch_size=batch_size
        ).images
        assert torch.equal(again, images)


def test_completing_a_guided_sample_gives_it_back(
    model: PixelCNN, assert_same_but_for_rounding: Callable[..., None]
) -> None:
    """The posterior over the classes follows the rows that are kept; it is summed in another order there."""
    options = OPTIONS["guided"]
    images = sample(model, LABELS, seed=2, options=options).images
    for from_row in (1, 3, 5):
        again = sample(model, LABELS, seed=2, given=images, from_row=from_row, options=options).images
        assert_same_but_for_rounding(again, images)


def test_completing_a_sample_of_the_trained_model_gives_it_back(trained: Callable[[int, int], PixelCNN]) -> None:
    model = trained(32, 32)
    images = sample(model, [0, 3], seed=2).images
    again = sample(model, [0, 3], seed=2, given=images, from_row=17).images
    assert torch.equal(again, images)


@how
def test_what_is_given_matters(options: SamplingOptions, model: PixelCNN, given: Tensor) -> None:
    """In the row just below and further down; but only what lies above `from_row`."""
    one, other = (
        sample(model, LABELS, seed=2, given=images, from_row=3, options=options).images for images in (given, ~given)
    )
    for row in (3, 5):
        assert not torch.equal(one[:, :, row], other[:, :, row])
    below = given.clone()
    below[:, :, 3:] ^= 255
    assert torch.equal(sample(model, LABELS, seed=2, given=below, from_row=3, options=options).images, one)


def test_each_image_is_completed_from_its_own(model: PixelCNN, given: Tensor) -> None:
    """Whatever batch it is in, the last and smaller one among them."""
    together = sample(model, LABELS, seed=2, given=given, from_row=3)
    for batch_size in (1, 2):
        images = sample(model, LABELS, seed=2, given=given, from_row=3, batch_size=batch_size).images
        assert torch.equal(images, together.images)
    alone = sample(model, LABELS[3:4], seeds=together.seeds[3:4], given=given[3:4], from_row=3).images
    assert torch.equal(alone[0], together.images[3])


def test_seeds_and_classes_complete_differently(model: PixelCNN, given: Tensor) -> None:
    same = given[:1].expand(6, -1, -1, -1)
    completed = sample(model, [0, 0, 0, 0, 1, 2], seeds=[1, 2, 3, 9, 9, 9], given=same, from_row=2).images
    assert len(completed.flatten(1).unique(dim=0)) == 6


def test_unconditional_model_completes(make_model: Callable[..., PixelCNN], given: Tensor) -> None:
    model = make_model(image_height=HEIGHT, image_width=5, early_fusion="none", film="none")
    completed = sample(model, [-1] * len(given), given=given, from_row=3).images
    assert torch.equal(completed[:, :, :3], given[:, :, :3])
    assert not torch.equal(completed[:, :, 3:], given[:, :, 3:])


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(5, 3, HEIGHT, 4, dtype=torch.uint8),
        torch.zeros(5, 1, HEIGHT, 5, dtype=torch.uint8),
        torch.zeros(4, 3, HEIGHT, 5, dtype=torch.uint8),
        torch.zeros(3, HEIGHT, 5, dtype=torch.uint8),
        torch.zeros(5, 3, HEIGHT, 5),
    ],
    ids=lambda images: f"{images.dtype} {tuple(images.shape)}",
)
def test_images_that_do_not_fit(wrong: Tensor, model: PixelCNN) -> None:
    with pytest.raises(DataError, match=r"must be uint8 \(5, 3, 6, 5\).*but are torch\."):
        sample(model, LABELS, given=wrong, from_row=2)


@pytest.mark.parametrize("from_row", [-1, HEIGHT + 1, 1000])
def test_rows_that_there_are_not(from_row: int, model: PixelCNN, given: Tensor) -> None:
    with pytest.raises(ConfigError, match=rf"`from_row` must lie in 0\.\.6.*{from_row}"):
        sample(model, LABELS, given=given, from_row=from_row)


def test_a_row_without_images(model: PixelCNN) -> None:
    with pytest.raises(ConfigError, match="needs images"):
        sample(model, LABELS, from_row=2)


# --- Which images in which classes ----------------------------------------------------------------------------------

CONFIG = ModelConfig(classes=("ant", "bee", "cat"), image_height=4, image_width=4)


def image_set(labels: Sequence[int]) -> ImageSet:
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    names = tuple(Path(f"{i}.png") for i in range(len(labels)))
    return ImageSet(images, torch.tensor(labels), CONFIG.classes, "given", "test", paths=names)


def test_images_are_completed_in_the_class_that_they_have_or_else_in_all() -> None:
    """One completion of everything first, then the second of everything."""
    plan = plan_completions(image_set([2, -1]), CONFIG, per_class=2)
    assert plan.labels == (2, 0, 1, 2) * 2
    assert plan.given is not None
    assert plan.given[:, 0, 0, 0].tolist() == [0, 1, 1, 1] * 2
    assert plan.given_names == ("0.png", "1.png", "1.png", "1.png") * 2
    assert plan.from_row == 2


def test_images_are_completed_in_the_classes_asked_for() -> None:
    plan = plan_completions(image_set([2, -1]), CONFIG, classes=[0, 1], from_row=3)
    assert plan.labels == (0, 1, 0, 1)
    assert plan.given is not None
    assert plan.given[:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    assert plan.from_row == 3


def test_more_completions_begin_with_the_fewer() -> None:
    fewer, more = (plan_completions(image_set([2, -1]), CONFIG, per_class=k, seed=7) for k in (1, 3))
    assert more.labels[: len(fewer)] == fewer.labels
    assert more.seeds[: len(fewer)] == fewer.seeds


def test_an_unconditional_model_knows_no_classes() -> None:
    config = ModelConfig(early_fusion="none", film="none", image_height=4, image_width=4)
    plan = plan_completions(image_set([2, -1]), config, per_class=3)
    assert plan.labels == (-1,) * 6
    assert plan.given is not None
    assert plan.given[:, 0, 0, 0].tolist() == [0, 1] * 3


@pytest.mark.parametrize("from_row", [4, 5])
def test_nothing_to_draw(from_row: int) -> None:
    with pytest.raises(ConfigError, match=f"`from_row` {from_row} leaves nothing to draw.*4 rows"):
        plan_completions(image_set([0]), CONFIG, from_row=from_row)
