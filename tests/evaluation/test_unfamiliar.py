"""Scores of unfamiliarity and how well they tell kinds of images apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cpixelcnn.errors import DataError
from cpixelcnn.evaluation.unfamiliar import detection, outlier_scores, png_bits, threshold


def test_separate_scores_are_told_apart_perfectly() -> None:
    found = detection(np.linspace(0, 1, 50), np.linspace(2, 3, 40), n_bootstrap=20)
    assert (found.auroc, found.aupr_in, found.aupr_out, found.fpr95) == pytest.approx((1, 1, 1, 0))
    assert found.auroc_ci95 == pytest.approx((1, 1))


def test_larger_scores_are_outliers() -> None:
    """The other way round everything is wrong, which a symmetric measure would not notice."""
    found = detection(np.linspace(2, 3, 50), np.linspace(0, 1, 40), n_bootstrap=20)
    assert (found.auroc, found.fpr95) == (0, 1)


def test_equal_distributions_are_chance_and_the_interval_says_so() -> None:
    generator = np.random.default_rng(0)
    found = detection(generator.normal(size=300), generator.normal(size=300))
    assert found.auroc_ci95[0] < 0.5 < found.auroc_ci95[1]
    assert 0.03 < found.auroc_ci95[1] - found.auroc_ci95[0] < 0.2
    assert found.fpr95 > 0.85


def test_by_hand() -> None:
    """Of the four pairs of a familiar image and an outlier three are in the right order."""
    assert detection(np.array([1.0, 3.0]), np.array([2.0, 4.0]), n_bootstrap=2).auroc == 0.75


def test_scores_that_cannot_be_used() -> None:
    with pytest.raises(DataError, match="at least 1 familiar"):
        detection(np.array([]), np.array([1.0]))
    with pytest.raises(DataError, match="not finite"):
        detection(np.array([np.nan]), np.array([1.0]))


def test_png_measures_complexity() -> None:
    flat = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
    noise = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bits = png_bits(torch.cat([flat, noise]))
    assert bits[0] < 0.5
    assert bits[1] > 8
    assert png_bits(flat[:, :1]).shape == (1,)


def test_scores_are_larger_for_outliers() -> None:
    """Simple images that the model calls likely are outliers by every score but the likelihood itself."""
    flat = torch.full((1, 1, 28, 28), 90, dtype=torch.uint8)
    scores = outlier_scores(np.array([1.0]), flat, np.array([2.9, 3.1]), local_bits=np.array([0.25]))
    assert scores["likelihood"] == 1.0
    assert scores["typicality"] == pytest.approx(2.0)
    assert scores["png"] == pytest.approx(1.0 - png_bits(flat)[0])
    assert scores["local"] == 0.75


def test_the_threshold_accepts_what_was_asked_for() -> None:
    familiar = np.random.default_rng(0).normal(size=1000)
    assert (familiar <= threshold(familiar)).mean() == pytest.approx(0.95, abs=0.002)
