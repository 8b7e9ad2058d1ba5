"""Priors that are estimated from unlabelled images; those that are given are tested with the classifier."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.evaluation.classify import posterior
from cpixelcnn.evaluation.priors import estimate_prior, log_prior

CONFIG = ModelConfig(classes=("ant", "bee", "cat"))


def gaussian_log_likelihoods(frequencies: list[float], n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points on a line around 0, 2 and 4, and their exact log-likelihoods."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor(frequencies), n, replacement=True, generator=generator)
    x = 2.0 * labels + torch.randn(n, generator=generator)
    return -0.5 * (x[:, None] - torch.tensor([0.0, 2.0, 4.0])).double().square(), labels


def test_the_frequencies_of_overlapping_classes_are_found() -> None:
    log_likelihoods, labels = gaussian_log_likelihoods([0.7, 0.1, 0.2], 5000)
    prior = estimate_prior(log_likelihoods)
    assert prior.tolist() == pytest.approx((torch.bincount(labels) / 5000).tolist(), abs=0.03)
    assert float(prior.sum()) == pytest.approx(1, abs=1e-12)


def test_counting_predictions_would_be_biased_where_this_is_not() -> None:
    log_likelihoods, labels = gaussian_log_likelihoods([0.8, 0.1, 0.1], 5000)
    truth = torch.bincount(labels) / 5000
    counted = torch.bincount(log_likelihoods.argmax(dim=1)) / 5000
    estimated = estimate_prior(log_likelihoods)
    assert float((estimated - truth).abs().max()) < 0.5 * float((counted - truth).abs().max())


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(0, 10_000))
def test_no_other_prior_makes_the_images_more_probable(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_likelihoods = 3 * torch.randn(n, 3, generator=generator, dtype=torch.float64)

    def log_prob(prior: Tensor) -> float:
        return float(torch.logsumexp(log_likelihoods + prior.log(), dim=1).sum())

    best = log_prob(estimate_prior(log_likelihoods))
    for other in torch.rand(20, 3, generator=generator, dtype=torch.float64):
        assert best >= log_prob(other / other.sum()) - 1e-4


def test_the_classifier_takes_it() -> None:
    log_likelihoods, _ = gaussian_log_likelihoods([0.7, 0.1, 0.2], 500)
    given_prior = estimate_prior(log_likelihoods)
    result = posterior(CONFIG, log_likelihoods, "estimated")
    torch.testing.assert_close(
        result.log_posteriors, posterior(CONFIG, log_likelihoods, given_prior.tolist()).log_posteriors
    )
    # With a temperature it is that of the calibrated evidence.
    tempered = posterior(CONFIG, 10 * log_likelihoods, "estimated", temperature=10)
    torch.testing.assert_close(tempered.log_posteriors, result.log_posteriors)


def test_what_cannot_be_estimated() -> None:
    with pytest.raises(DataError, match="no images"):
        estimate_prior(torch.empty(0, 3))
    with pytest.raises(DataError, match="not finite"):
        estimate_prior(torch.full((2, 3), torch.nan))
    with pytest.raises(ConfigError, match="`prior` 'estimated' is not known"):
        log_prior(CONFIG, "estimated")
