"""Temperatures: found where they are known, honest about the images they were fitted on, kept with their weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.evaluation.calibration import (
    CALIBRATIONS,
    Calibration,
    cross_validated,
    fit_calibration,
    fit_temperature,
)
from cpixelcnn.evaluation.classify import posterior
from cpixelcnn.evaluation.evaluate import calibrated_scores, evaluate_log_likelihoods
from cpixelcnn.evaluation.scores import posterior_nll

CONFIG = ModelConfig(classes=("ant", "bee", "cat"), image_height=4, image_width=4)


def overconfident(n: int, factor: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Log-likelihoods that are `factor` times what they should be, with labels from the right posterior."""
    generator = torch.Generator().manual_seed(seed)
    right = 2 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(right.softmax(dim=1), 1, generator=generator)[:, 0]
    return factor * (right - 500), labels


def image_set(labels: Tensor, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (len(labels), 3, 4, 4), dtype=torch.uint8, generator=generator)
    return ImageSet(images, labels, CONFIG.classes, name="insects", split="validation")


@pytest.mark.parametrize("factor", [0.1, 1.0, 20.0])
def test_the_temperature_is_found(factor: float) -> None:
    log_likelihoods, labels = overconfident(5000, factor)
    assert fit_temperature(CONFIG, log_likelihoods, labels) == pytest.approx(factor, rel=0.07)


def test_no_other_temperature_is_better() -> None:
    log_likelihoods, labels = overconfident(200, 7.0)
    best = fit_temperature(CONFIG, log_likelihoods, labels, [0.2, 0.5, 0.3])

    def nll(temperature: float) -> float:
        result = posterior(CONFIG, log_likelihoods, [0.2, 0.5, 0.3], temperature)
        return posterior_nll(result.log_posteriors, labels)

    assert all(nll(best) <= nll(best * factor) + 1e-9 for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))


def test_no_prediction_changes() -> None:
    log_likelihoods, _ = overconfident(200, 7.0)
    plain, cooled = posterior(CONFIG, log_likelihoods), posterior(CONFIG, log_likelihoods, temperature=7.0)
    assert torch.equal(plain.predictions, cooled.predictions)
    assert torch.equal(plain.log_likelihoods, cooled.log_likelihoods)
    assert float(cooled.probabilities.max(dim=1).values.mean()) < float(plain.probabilities.max(dim=1).values.mean())
    with pytest.raises(ConfigError, match="`temperature` must be greater than 0"):
        posterior(CONFIG, log_likelihoods, temperature=0.0)


def test_images_that_are_all_classified_right_have_a_finite_temperature() -> None:
    labels = torch.tensor([0, 1, 2] * 10)
    log_likelihoods = 100 * torch.nn.functional.one_hot(labels, 3).double()
    temperature = fit_temperature(CONFIG, log_likelihoods, labels)
    assert 0 < temperature < 10


def test_a_class_that_the_prior_rules_out_does_not_spoil_the_fit() -> None:
    log_likelihoods, labels = overconfident(500, 5.0)
    temperature = fit_temperature(CONFIG, log_likelihoods, labels, [1, 1, 0])
    assert math.isfinite(temperature)
    assert 0.1 < temperature < 100


def test_an_image_has_no_part_in_its_own_temperature() -> None:
    """Whatever the label of an image is, its cross-validated posterior is the same."""
    log_likelihoods, labels = overconfident(50, 10.0)
    changed = labels.clone()
    changed[3] = (labels[3] + 1) % 3
    before, after = (cross_validated(CONFIG, log_likelihoods, some) for some in (labels, changed))
    fold = torch.arange(50) % 5
    assert torch.equal(before[fold == 3], after[fold == 3])
    assert not torch.equal(before[fold != 3], after[fold != 3])


def test_what_a_calibration_tells() -> None:
    log_likelihoods, labels = overconfident(1000, 20.0)
    calibration = fit_calibration(CONFIG, image_set(labels), log_likelihoods[None])
    assert calibration.temperature == pytest.approx(20, rel=0.15)
    assert (calibration.dataset, calibration.split, calibration.n_images) == ("insects", "validation", 1000)
    assert calibration.nll_after < 0.4 * calibration.nll_before
    assert calibration.ece_after < 0.5 * calibration.ece_before
    assert calibration.bpd_low < calibration.bpd_mean < calibration.bpd_high


def test_scores_of_the_fitted_images_are_cross_validated_and_those_of_others_are_not() -> None:
    log_likelihoods, labels = overconfident(300, 20.0)
    fitted = image_set(labels)
    calibration = fit_calibration(CONFIG, fitted, log_likelihoods[None])
    evaluation = evaluate_log_likelihoods(CONFIG, fitted, log_likelihoods[None])
    assert evaluation.classification is not None
    result = calibrated_scores(CONFIG, fitted, evaluation.classification, calibration)
    assert result.cross_validated
    assert result.scores.nll_posterior == calibration.nll_after

    other = image_set(labels, seed=1)
    result = calibrated_scores(CONFIG, other, evaluation.classification, calibration)
    assert not result.cross_validated
    expected = posterior(CONFIG, log_likelihoods, temperature=calibration.temperature)
    assert torch.equal(result.log_posteriors, expected.log_posteriors)


@pytest.mark.parametrize(
    ("n", "label", "value", "message"),
    [(19, 0, 0.0, "at least 20 images"), (30, -1, 0.0, "no label"), (30, 0, math.nan, "not finite")],
)
def test_what_cannot_be_calibrated(n: int, label: int, value: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_calibration(CONFIG, image_set(torch.full((n,), label)), torch.full((1, n, 3), value).double())


def test_a_class_that_the_prior_rules_out_cannot_be_calibrated() -> None:
    log_likelihoods, labels = overconfident(100, 5.0)
    with pytest.raises(DataError, match="`prior` rules out a class"):
        fit_calibration(CONFIG, image_set(labels), log_likelihoods[None], prior=[1, 1, 0])


@pytest.fixture
def calibration() -> Calibration:
    log_likelihoods, labels = overconfident(40, 5.0)
    return fit_calibration(CONFIG, image_set(labels), log_likelihoods[None])


def test_it_is_stored_beside_the_weights(calibration: Calibration, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.touch()
    assert CALIBRATIONS.save(weights, calibration).name == "calibration.json"
    assert CALIBRATIONS.find(weights) == calibration


@pytest.mark.parametrize("temperature", [-1.0, 0.0, 1e9])
def test_temperatures_that_cannot_be(calibration: Calibration, temperature: float) -> None:
    with pytest.raises(ValueError, match=f"the temperature cannot be {temperature}"):
        replace(calibration, temperature=temperature)
