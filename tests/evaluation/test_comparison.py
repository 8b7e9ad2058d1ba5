"""Two models on the same images: counts by hand, McNemar's p-value against its formula, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from math import comb

import numpy as np
import pytest
import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import ConfigError
from cpixelcnn.evaluation.comparison import compare, compare_all, require_comparable
from cpixelcnn.evaluation.evaluate import Evaluation, evaluate_log_likelihoods

CONFIG = ModelConfig(classes=("ant", "bee", "cat"), image_channels=1, image_height=4, image_width=4)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def evaluation(predictions: list[int], labels: Tensor = LABELS, config: ModelConfig = CONFIG) -> Evaluation:
    """That of a model which predicts these classes, as indices into those of `CONFIG`."""
    named = [config.classes.index(CONFIG.classes[label]) for label in predictions]
    log_likelihoods = torch.full((1, len(labels), 3), -30.0, dtype=torch.float64)
    log_likelihoods[0, torch.arange(len(labels)), named] = -20.0
    images = torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8)
    own = torch.tensor([*map(config.classes.index, CONFIG.classes), -1])[labels]
    return evaluate_log_likelihoods(config, ImageSet(images, own, config.classes, "insects", "test"), log_likelihoods)


A = evaluation([0, 1, 2, 0, 1, 0, 1, 2])  # right on the first five
B = evaluation([0, 0, 0, 1, 2, 2, 1, 0])  # right on the first and the sixth


def test_by_hand() -> None:
    found = compare((CONFIG, A), (CONFIG, B), LABELS)
    assert (found.n_images, found.n_different) == (8, 6)
    assert (found.only_first_right, found.only_second_right) == (4, 1)
    # Two-sided: 1 or fewer, or 4 or more, of 5 tosses of a fair coin.
    assert found.p_value == pytest.approx(2 * (comb(5, 0) + comb(5, 1)) / 2**5)
    assert (found.bpd_difference, found.bpd_difference_stderr) == pytest.approx((0, 0), abs=1e-12)


def test_the_order_of_classes_does_not_matter() -> None:
    other = replace(CONFIG, classes=("cat", "ant", "bee"))
    expected = compare((CONFIG, A), (CONFIG, B), LABELS)
    permuted = evaluation([0, 0, 0, 1, 2, 2, 1, 0], config=other)
    assert compare((CONFIG, A), (other, permuted), LABELS) == expected
    three = compare_all([(CONFIG, A), (other, permuted), (CONFIG, B)], LABELS)
    assert list(three) == [(0, 1), (0, 2), (1, 2)]
    assert three[0, 1] == three[0, 2] == expected
    assert three[1, 2].n_different == 0
    assert three[1, 2].p_value == 1
    reversed_pair = compare_all([(other, permuted), (CONFIG, A)], LABELS.new_tensor([1, 2, 0])[LABELS])[0, 1]
    assert (reversed_pair.only_first_right, reversed_pair.only_second_right) == (1, 4)


def test_bits_per_dim_are_compared_image_by_image() -> None:
    """One model is better by 0.1 to 0.3 bits/dim on every image, however much the images differ."""
    generator = np.random.default_rng(0)
    likelihoods = torch.from_numpy(generator.normal(-500, 100, (1, 8, 3)))
    gain = torch.linspace(0.1, 0.3, 8, dtype=torch.float64)
    images = ImageSet(torch.zeros(8, 1, 4, 4, dtype=torch.uint8), LABELS, CONFIG.classes, "insects", "test")
    better = likelihoods + (gain * 16 * np.log(2))[None, :, None]
    pair = [(CONFIG, evaluate_log_likelihoods(CONFIG, images, each)) for each in (likelihoods, better)]
    found = compare(pair[0], pair[1], LABELS)
    assert found.bpd_difference == pytest.approx(-0.2)
    assert found.bpd_difference_stderr == pytest.approx(float(gain.std()) / 8**0.5)


def test_without_labels_there_is_no_p_value() -> None:
    unknown = torch.full((8,), -1)
    found = compare((CONFIG, A), (CONFIG, B), unknown)
    assert found.n_different == 6
    assert (found.only_first_right, found.only_second_right, found.p_value) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("ant", "bee", "dog")}, "different classes.*dog"),
        ({"classes": ("ant", "bee")}, "different classes"),
        ({"image_channels": 3}, "4x4 grey, another for 4x4 RGB; score them one by one"),
        ({"early_fusion": "none", "film": "none"}, "knows no classes"),
    ],
)
def test_models_that_cannot_be_compared(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        require_comparable(CONFIG, replace(CONFIG, **changes))
