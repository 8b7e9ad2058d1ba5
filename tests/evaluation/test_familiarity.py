"""The threshold of unfamiliarity: learned, stored beside the weights that it is for, and read with care."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.evaluation.familiarity import THRESHOLDS, Familiarity, fit_familiarity
from cpixelcnn.evaluation.unfamiliar import png_bits

PIXELS = torch.randint(256, (100, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = ImageSet(PIXELS, torch.zeros(100, dtype=torch.int64), ("ant",), "insects", "validation")
BITS = np.random.default_rng(0).normal(7, 0.1, 100)


@pytest.mark.parametrize("score", ["png", "webp", "typicality"])
def test_so_many_familiar_images_are_accepted(score: str) -> None:
    found = fit_familiarity(IMAGES, BITS, score, accepted=0.9)
    scores = found.scores(BITS, PIXELS)
    assert found.unfamiliar(scores).sum() in (9, 10)
    assert (found.n_images, found.dataset, found.split) == (100, "insects", "validation")
    if score == "png":
        np.testing.assert_allclose(scores, BITS - png_bits(PIXELS))
    if score == "typicality":
        np.testing.assert_allclose(scores, abs(BITS - BITS.mean()))


def test_a_score_that_is_not_a_number_is_unfamiliar() -> None:
    found = Familiarity("png", 0.5, 0.95, 3.0, "insects", "validation", 100)
    assert found.unfamiliar(np.array([np.nan, 0.5, 0.6, np.inf])).tolist() == [True, False, True, True]


def test_it_is_stored_beside_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.touch()
    found = fit_familiarity(IMAGES, BITS)
    assert THRESHOLDS.save(weights, found).name == "unfamiliar.json"
    assert THRESHOLDS.find(weights) == found


def test_what_cannot_be_learned() -> None:
    with pytest.raises(ConfigError, match="not for 'stirring'"):
        fit_familiarity(IMAGES, BITS, "stirring")
    with pytest.raises(DataError, match="at least 40"):
        fit_familiarity(IMAGES[:20], BITS[:20])
    with pytest.raises(DataError, match="finite"):
        fit_familiarity(IMAGES, np.where(BITS > 7, np.nan, BITS))


def test_a_score_that_takes_long_is_no_threshold() -> None:
    with pytest.raises(ValueError, match="the score cannot be 'stirring'"):
        Familiarity("stirring", 0.5, 0.95, 3.0, "insects", "validation", 100)
