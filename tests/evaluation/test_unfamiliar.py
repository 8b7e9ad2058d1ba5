"""Scores of unfamiliarity and how well they tell kinds of images apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
)
def test_against_the_definitions(familiar: list[int], outliers: list[int]) -> None:
    """With many ties. AUROC: how often an outlier has the larger score, ties count half (Mann & Whitney 1947); AUPR:
    the mean over positives of the precision at their score; FPR95: at the highest cut that flags 95 % of outliers."""
    found = detection(np.array(familiar, float), np.array(outliers, float), n_bootstrap=1)
    pairs = [(f, o) for f in familiar for o in outliers]
    assert found.auroc == pytest.approx(sum((o > f) + (o == f) / 2 for f, o in pairs) / len(pairs))

    def precision(positives: list[int], negatives: list[int], cut: int) -> float:
        flagged = sum(p >= cut for p in positives)
        return flagged / (flagged + sum(n >= cut for n in negatives))

    assert found.aupr_out == pytest.approx(np.mean([precision(outliers, familiar, o) for o in outliers]))
    turned = [[-value for value in values] for values in (familiar, outliers)]
    assert found.aupr_in == pytest.approx(np.mean([precision(turned[0], turned[1], f) for f in turned[0]]))
    cut = max(c for c in outliers if sum(o >= c for o in outliers) >= 0.95 * len(outliers))
    assert found.fpr95 == pytest.approx(sum(f >= cut for f in familiar) / len(familiar))


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
    scores = outlier_scores(np.array([1.0]), 3.0, {"png": np.array([0.125]), "local": np.array([0.25])})
    assert scores == {"likelihood": 1.0, "typicality": 2.0, "png": 0.875, "local": 0.75}


def test_the_threshold_accepts_what_was_asked_for() -> None:
    familiar = np.random.default_rng(0).normal(size=1000)
    assert (familiar <= threshold(familiar)).mean() == pytest.approx(0.95, abs=0.002)
