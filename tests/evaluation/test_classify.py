"""The Bayes classifier: by hand, under every kind of prior, whatever the order and batches of images and classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import CheckpointError, ConfigError, DataError
from cpixelcnn.evaluation.class_log_probs import class_log_probs
from cpixelcnn.evaluation.classify import classify, posterior
from cpixelcnn.evaluation.priors import log_prior
from cpixelcnn.model.network import PixelCNN

CONFIG = ModelConfig(classes=("ant", "bee", "cat"), class_counts=(10, 30, 60))


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model(class_counts=(10, 30, 60), early_fusion="template")


@pytest.fixture(scope="module")
def images(model: PixelCNN, make_images: Callable[..., Tensor]) -> Tensor:
    return make_images(model, 7)


# --- Bayes' rule ----------------------------------------------------------------------------------------------------


def test_bayes_rule_by_hand() -> None:
    likelihoods = torch.tensor([[0.2, 0.1, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
    uniform = posterior(CONFIG, likelihoods.log(), "uniform")
    expected = torch.tensor([[0.5, 0.25, 0.25], [0.3, 0.3, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(uniform.probabilities, expected)
    assert uniform.predictions.tolist() == [0, 2]
    assert torch.equal(uniform.log_likelihoods, likelihoods.log())

    training = posterior(CONFIG, likelihoods.log(), "training")  # 0.1, 0.3, 0.6
    expected = torch.tensor([[0.02, 0.03, 0.06], [0.03, 0.09, 0.24]], dtype=torch.float64)
    torch.testing.assert_close(training.probabilities, expected / expected.sum(dim=1, keepdim=True))
    assert training.predictions.tolist() == [2, 2]

    given_weights = posterior(CONFIG, likelihoods.log(), [3, 0, 1])
    expected = torch.tensor([[0.6, 0.0, 0.1], [0.9, 0.0, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(given_weights.probabilities, expected / expected.sum(dim=1, keepdim=True))
    assert given_weights.predictions.tolist() == [0, 0]


def test_tiny_differences_of_huge_sums_decide() -> None:
    """Sums of thousands of log-probabilities; float32 would not tell these apart."""
    log_likelihoods = torch.tensor([[-9000.0, -8999.9999, -9000.0001]], dtype=torch.float64)
    result = posterior(CONFIG, log_likelihoods, "uniform")
    assert result.predictions.tolist() == [1]
    torch.testing.assert_close(
        result.probabilities[0].diff(), torch.tensor([1e-4, -2e-4]).double() / 3, rtol=1e-3, atol=0
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e5, 0), min_size=3, max_size=3), min_size=1, max_size=5),
    st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3),
)
def test_posteriors_sum_to_one_and_follow_bayes(rows: list[list[float]], prior: list[float]) -> None:
    log_likelihoods = torch.tensor(rows, dtype=torch.float64)
    result = posterior(CONFIG, log_likelihoods, prior)
    torch.testing.assert_close(result.probabilities.sum(dim=1), torch.ones(len(rows)).double(), rtol=0, atol=1e-12)
    joint = log_likelihoods + torch.tensor(prior, dtype=torch.float64).log()
    torch.testing.assert_close(
        result.log_posteriors - result.log_posteriors[:, :1], joint - joint[:, :1], rtol=1e-9, atol=1e-7
    )
    chosen = joint.gather(1, result.predictions[:, None])[:, 0]
    torch.testing.assert_close(chosen, joint.max(dim=1).values, rtol=0, atol=1e-9)


# --- Priors ---------------------------------------------------------------------------------------------------------


def test_priors() -> None:
    assert log_prior(CONFIG, "uniform").exp().tolist() == pytest.approx([1 / 3] * 3)
    assert log_prior(CONFIG, "training").exp().tolist() == pytest.approx([0.1, 0.3, 0.6])
    assert log_prior(CONFIG, (2, 2, 4)).exp().tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert log_prior(CONFIG, "uniform").dtype == torch.float64


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("balanced", "'balanced' is not known.*uniform"),
        ("", "not known"),
        ([1.0, 1.0], "2 numbers.*3 classes"),
        ([1.0] * 4, "4 numbers.*3 classes"),
        ([], "0 numbers.*3 classes"),
        ([1.0, -0.5, 1.0], "0 or more"),
        ([0.0, 0.0, 0.0], "positive sum"),
        ([1.0, math.nan, 1.0], "nan"),
        ([1.0, math.inf, 1.0], "inf"),
    ],
)
def test_priors_that_cannot_be_used(prior: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        log_prior(CONFIG, prior)


def test_training_prior_of_a_model_without_counts() -> None:
    with pytest.raises(ConfigError, match="does not carry its training frequencies; use uniform"):
        log_prior(ModelConfig(classes=("ant", "bee", "cat")), "training")


# --- With a model ---------------------------------------------------------------------------------------------------


def test_log_likelihoods_are_the_models(model: PixelCNN, images: Tensor) -> None:
    log_likelihoods = class_log_probs(model, images)
    assert log_likelihoods.shape == (7, 3)
    assert log_likelihoods.dtype == torch.float64
    with torch.no_grad():
        for label in range(3):
            expected = model.log_prob(images, torch.full((7,), label))
            torch.testing.assert_close(log_likelihoods[:, label], expected)
    result = classify(model, images, prior="training")
    torch.testing.assert_close(result.log_likelihoods, log_likelihoods)
    assert torch.equal(result.predictions, (log_likelihoods + torch.tensor([0.1, 0.3, 0.6]).log()).argmax(dim=1))
    torch.testing.assert_close(result.probabilities.sum(dim=1), torch.ones(7).double(), rtol=0, atol=1e-12)


def test_prior_moves_predictions(model: PixelCNN, images: Tensor) -> None:
    for label in range(3):
        prior = [1.0 if c == label else 0.0 for c in range(3)]
        assert classify(model, images, prior=prior).predictions.tolist() == [label] * 7


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_batch_size_does_not_matter(batch_size: int, model: PixelCNN, images: Tensor) -> None:
    """3 does not divide 7: the last, smaller batch is there, too."""
    result = classify(model, images, batch_size=batch_size)
    assert result.log_posteriors.shape == (7, 3)
    torch.testing.assert_close(result.log_likelihoods, class_log_probs(model, images), rtol=1e-6, atol=1e-4)


def test_order_of_images_does_not_matter(model: PixelCNN, images: Tensor) -> None:
    order = torch.tensor([3, 0, 6, 5, 1, 2, 4])
    expected = class_log_probs(model, images, batch_size=3)[order]
    torch.testing.assert_close(class_log_probs(model, images[order], batch_size=3), expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("early_fusion", ["vector", "template"])
def test_permuting_classes_permutes_posteriors(
    early_fusion: str, images: Tensor, make_model: Callable[..., PixelCNN]
) -> None:
    model, permuted = (make_model(seed=1, early_fusion=early_fusion) for _ in range(2))
    order = torch.tensor([2, 0, 1])  # the new class i is the old class order[i]
    with torch.no_grad():
        for parameter in (permuted.early_fusion.z, permuted.class_embedding.weight):
            parameter.copy_(parameter[order].clone())
    prior = torch.tensor([0.5, 0.2, 0.3])
    before = classify(model, images, prior=prior.tolist())
    after = classify(permuted, images, prior=prior[order].tolist())
    torch.testing.assert_close(after.log_posteriors, before.log_posteriors[:, order], rtol=1e-6, atol=1e-4)
    assert torch.equal(order[after.predictions], before.predictions)
    assert len(set(before.predictions.tolist())) > 1, "the test means something"


def test_unconditional_model_has_no_classes(make_model: Callable[..., PixelCNN], images: Tensor) -> None:
    model = make_model(early_fusion="none", film="none")
    with pytest.raises(CheckpointError, match="unconditional"):
        classify(model, images)


def test_images_of_another_shape(model: PixelCNN) -> None:
    with pytest.raises(DataError, match="resize"):
        classify(model, torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_no_images(model: PixelCNN, images: Tensor) -> None:
    result = classify(model, images[:0])
    assert result.log_posteriors.shape == (0, 3)
    assert result.predictions.shape == (0,)


def test_model_in_use_keeps_no_graph(model: PixelCNN, images: Tensor) -> None:
    assert not class_log_probs(model, images).requires_grad


def test_progress_grows_and_ends_at_its_total(model: PixelCNN, images: Tensor) -> None:
    calls: list[tuple[int, int]] = []
    classify(model, images, batch_size=3, progress=lambda done, total: calls.append((done, total)))
    assert {total for _, total in calls} == {21}
    done = [done for done, _ in calls]
    assert done == sorted(set(done))
    assert done[-1] == 21
    assert done[0] > 0


def test_arithmetic_is_exact_whatever_the_caller_allows(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TF32 and a caller's autocast would move log-likelihoods by dozens of nats."""
    model = make_model()
    images = make_images(model, 3)
    expected = class_log_probs(model, images)
    seen: list[tuple[str, bool]] = []
    original = PixelCNN.forward

    def spy(self: PixelCNN, *arguments: Any) -> Tensor:
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return original(self, *arguments)

    monkeypatch.setattr(PixelCNN, "forward", spy)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(class_log_probs(model, images), expected)
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {("highest", False)}
