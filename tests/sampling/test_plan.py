"""Plans of samples: labels in every form, seeds, parts of a plan, and what cannot be planned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.randomness import derive_seed
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.plan import Labels, SamplePlan, label_of, plan_samples
from cpixelcnn.sampling.sample import draw, sample

CONFIG = ModelConfig(classes=("ant", "Bee", "cat", "CAT"), image_height=4, image_width=4)
UNCONDITIONAL = ModelConfig(early_fusion="none", film="none")


@pytest.mark.parametrize(
    "labels",
    [[2, 0], (2, 0), torch.tensor([2, 0]), torch.tensor([2, 0], dtype=torch.uint8), np.array([2, 0]), ["cat", "Ant"]],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_in_every_form(labels: Labels) -> None:
    plan = plan_samples(CONFIG, labels, seed=3)
    assert plan.labels == (2, 0)
    assert plan.seeds == (derive_seed(3, "sample", 0), derive_seed(3, "sample", 1))
    assert plan.options == SamplingOptions()


def test_names_of_classes() -> None:
    """In any case where that leaves no doubt; a mistyped one gets a suggestion."""
    assert [label_of(CONFIG, name) for name in ("ANT", "bee", "cat", "CAT")] == [0, 1, 2, 3]
    for name in ("Cat", "sushi"):
        with pytest.raises(ConfigError, match=rf"no class '{name}'"):
            label_of(CONFIG, name)
    with pytest.raises(ConfigError, match="did you mean 'Bee'"):
        plan_samples(CONFIG, ["bees"])


def test_samples_by_name(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model()
    samples = sample(model, ["Cat", "ant"], seed=5)
    assert samples.labels.tolist() == [2, 0]
    assert torch.equal(samples.images, sample(model, [2, 0], seed=5).images)


@pytest.mark.parametrize("labels", [torch.tensor([0.5, 1.0]), torch.tensor([[0, 1]]), torch.tensor(1)])
def test_labels_that_are_no_list_of_integers(labels: Tensor) -> None:
    with pytest.raises(DataError, match=r"must be integers \(N,\), but are torch"):
        plan_samples(CONFIG, labels)


def test_an_unconditional_model_knows_no_classes() -> None:
    assert plan_samples(UNCONDITIONAL, [0, 7]).labels == (-1, -1)
    with pytest.raises(DataError, match="unconditional and knows no classes"):
        plan_samples(UNCONDITIONAL, ["ant"])


def test_a_plan_of_some_images_makes_those_images(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model()
    names = [f"{i}.png" for i in range(7)]
    plan = plan_samples(
        model.config, [0, 1, 2, 2, 1, 0, 1], seed=5, given=make_images(model, 7), given_names=names, from_row=2
    )
    some = plan.select([5, 1, 2])
    assert (some.labels, some.seeds) == ((0, 1, 2), tuple(plan.seeds[i] for i in (5, 1, 2)))
    assert (some.given_names, some.from_row) == (("5.png", "1.png", "2.png"), 2)

    def images_of(plan: SamplePlan) -> Tensor:
        return torch.cat(list(draw(model, plan)))

    assert torch.equal(images_of(some), images_of(plan)[[5, 1, 2]])


def test_not_one_name_for_each_given_image() -> None:
    with pytest.raises(ConfigError, match=r"`given_names` must be as many as the labels \(2\), but are 1"):
        plan_samples(CONFIG, [0, 1], given_names=["a.png"])
