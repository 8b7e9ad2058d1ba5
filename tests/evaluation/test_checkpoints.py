"""A whole run: each checkpoint is scored as `evaluate` scores it, and one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import CheckpointError
from cpixelcnn.evaluation.checkpoints import score_checkpoints
from cpixelcnn.evaluation.evaluate import evaluate
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import save_weights
from cpixelcnn.runs.kept_checkpoints import KeptCheckpoint


@pytest.fixture
def models(make_model: Callable[..., PixelCNN]) -> list[PixelCNN]:
    return [make_model(seed=seed) for seed in (1, 2)]


@pytest.fixture
def kept(models: list[PixelCNN], tmp_path: Path) -> list[KeptCheckpoint]:
    for number, model in enumerate(models):
        save_weights(tmp_path / f"{number}.safetensors", model.state_dict(), RunConfig(model.config))
    return [KeptCheckpoint(tmp_path / f"{number}.safetensors", number + 1, 5, 80) for number in range(2)]


@pytest.fixture
def images(models: list[PixelCNN], make_images: Callable[..., Tensor]) -> ImageSet:
    pixels = make_images(models[0], 6)
    return ImageSet(pixels, torch.arange(6) % 3, models[0].config.classes, "insects", "test")


def test_scores_are_those_of_evaluate(models: list[PixelCNN], kept: list[KeptCheckpoint], images: ImageSet) -> None:
    found = list(score_checkpoints(kept, images, distance=lambda model: ("FID", float(model.config.nr_classes))))
    for model, each, number in zip(models, found, (1, 2), strict=True):
        expected = evaluate(model, images)
        assert expected.scores is not None
        assert (each.epoch, each.n_images, each.accuracy) == (number, 6, expected.scores.accuracy)
        assert each.bpd == pytest.approx(expected.density.bpd)
        assert (each.accuracy_low, each.accuracy_high) == expected.scores.accuracy_ci95
        assert (each.distance_name, each.distance) == ("FID", 3.0)
    assert found[0].bpd != found[1].bpd


def test_a_checkpoint_is_loaded_when_its_turn_comes(kept: list[KeptCheckpoint], images: ImageSet) -> None:
    """So memory holds one model, and a result is there before the next is begun."""
    scores = score_checkpoints(kept, images)
    kept[1].weights.unlink()
    assert next(scores).epoch == 1


def test_one_that_has_gone_is_named_and_the_others_are_scored(kept: list[KeptCheckpoint], images: ImageSet) -> None:
    """As where a training goes on meanwhile, and prunes."""
    kept[0].weights.unlink()
    with pytest.raises(CheckpointError, match=r"0\.safetensors"):
        list(score_checkpoints(kept, images))
    told: list[str] = []
    (found,) = score_checkpoints(kept, images, left_out=told.append)
    assert found.epoch == 2
    assert len(told) == 1
    assert "0.safetensors" in told[0]


def test_without_labels(kept: list[KeptCheckpoint], images: ImageSet) -> None:
    unlabelled = ImageSet(images.images, torch.full((6,), -1), images.classes, "insects", "test")
    (first, _) = score_checkpoints(kept, unlabelled)
    assert (first.accuracy, first.accuracy_low, first.bpd, first.distance) == (None, None, None, None)
    assert first.bpd_marginal > 0
