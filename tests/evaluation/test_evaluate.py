"""One pass that tells everything: it agrees with its parts, and says what it cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.evaluation.bits_per_dim import bits_per_dim
from cpixelcnn.evaluation.classify import classify
from cpixelcnn.evaluation.evaluate import evaluate
from cpixelcnn.evaluation.scores import score
from cpixelcnn.model.network import PixelCNN


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model(class_counts=(1, 2, 3), early_fusion="template")


@pytest.fixture(scope="module")
def image_set(model: PixelCNN, make_images: Callable[..., Tensor]) -> ImageSet:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    return ImageSet(make_images(model, 7), labels, model.config.classes, name="ants", split="test")


@pytest.mark.parametrize("prior", ["uniform", "training", (0.2, 0.5, 0.3)])
@pytest.mark.parametrize("batch_size", [3, 64])
def test_labelled(batch_size: int, prior: str | tuple[float, ...], model: PixelCNN, image_set: ImageSet) -> None:
    evaluation = evaluate(model, image_set, prior=prior, batch_size=batch_size)
    classification = classify(model, image_set.images, prior=prior, batch_size=batch_size)
    scores = score(classification.log_posteriors, image_set.labels)
    assert evaluation.missing == ""
    assert evaluation.density == bits_per_dim(
        model, image_set.images, image_set.labels, prior=prior, batch_size=batch_size
    )
    assert evaluation.density.bpd is not None
    assert evaluation.classification is not None
    assert torch.equal(evaluation.classification.log_posteriors, classification.log_posteriors)
    assert evaluation.scores is not None
    assert evaluation.scores.n_images == 7
    assert evaluation.scores.accuracy == scores.accuracy
    assert evaluation.scores.nll_posterior == scores.nll_posterior
    assert torch.equal(evaluation.scores.confusion, scores.confusion)


def test_perfect_where_labels_are_the_predictions(model: PixelCNN, image_set: ImageSet) -> None:
    predictions = classify(model, image_set.images).predictions
    scores = evaluate(model, replace(image_set, labels=predictions)).scores
    assert scores is not None
    assert scores.accuracy == 1
    scores = evaluate(model, replace(image_set, labels=(predictions + 1) % 3)).scores
    assert scores is not None
    assert scores.accuracy == 0


@pytest.mark.parametrize("labels", [torch.full((7,), -1), torch.tensor([0, 1, 2, 0, 1, 2, -1])])
def test_without_all_labels(labels: Tensor, model: PixelCNN, image_set: ImageSet) -> None:
    evaluation = evaluate(model, replace(image_set, labels=labels))
    assert evaluation.scores is None
    assert evaluation.density.bpd is None
    assert evaluation.density.bpd_marginal == evaluate(model, image_set).density.bpd_marginal
    assert evaluation.classification is not None
    assert evaluation.classification.predictions.shape == (7,)
    assert evaluation.missing.startswith("ants (test) has images without labels")
    assert "no accuracy" in evaluation.missing


def test_unconditional(make_model: Callable[..., PixelCNN], image_set: ImageSet) -> None:
    model = make_model(early_fusion="none", film="none")
    evaluation = evaluate(model, image_set, batch_size=3)
    assert evaluation.density == bits_per_dim(model, image_set.images, batch_size=3)
    assert evaluation.density.bpd is None
    assert evaluation.scores is None
    assert evaluation.classification is None
    assert "unconditional" in evaluation.missing


@pytest.mark.parametrize("fusion", [{}, {"early_fusion": "none", "film": "none"}], ids=["conditional", "unconditional"])
def test_no_images(fusion: dict[str, str], make_model: Callable[..., PixelCNN], image_set: ImageSet) -> None:
    with pytest.raises(DataError, match="no images"):
        evaluate(make_model(**fusion), image_set.select(torch.zeros(0, dtype=torch.int64)))


def test_labels_of_more_classes_than_the_model_has(model: PixelCNN, image_set: ImageSet) -> None:
    with pytest.raises(DataError, match="3"):
        evaluate(model, replace(image_set, labels=torch.tensor([0, 1, 2, 3, 1, 2, 0])))


def test_prior_that_does_not_suit(model: PixelCNN, image_set: ImageSet) -> None:
    with pytest.raises(ConfigError, match="2 numbers"):
        evaluate(model, image_set, prior=(0.5, 0.5))


def test_progress_ends_at_its_total(model: PixelCNN, image_set: ImageSet) -> None:
    """One forward pass for each image and class, no more."""
    calls: list[tuple[int, int]] = []
    evaluate(model, image_set, batch_size=3, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (21, 21)
    assert len(calls) == 9
