"""The moving average of the weights: its formula, its warm-up, and that it leaves the weights alone."""

from __future__ import annotations

import pytest
import torch

from cpixelcnn.config import ModelConfig
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.training.ema import ExponentialMovingAverage


@pytest.fixture
def model() -> PixelCNN:
    torch.manual_seed(0)
    return PixelCNN(ModelConfig(nr_filters=4, nr_logistic_mix=2, classes=("a", "b"), image_height=8, image_width=8))


@torch.no_grad()
def move(model: PixelCNN, amount: float) -> None:
    for parameter in model.parameters():
        parameter.add_(amount)


def test_formula_with_warm_up(model: PixelCNN) -> None:
    ema = ExponentialMovingAverage(model, decay=0.5)
    expected = model.out.v.detach().clone()
    for step in range(1, 21):
        move(model, 0.1)
        ema.update(model, step)
        decay = min(0.5, (1 + step) / (10 + step))  # 2/11, 3/12, ... until 0.5 at step 8
        expected = decay * expected + (1 - decay) * model.out.v.detach()
        assert torch.allclose(ema.model.out.v, expected, atol=1e-6), step


def test_without_decay_the_average_is_the_weights(model: PixelCNN) -> None:
    ema = ExponentialMovingAverage(model, decay=0.0)
    move(model, 0.3)
    ema.update(model, 1)
    assert all(torch.equal(a, b) for a, b in zip(ema.model.parameters(), model.parameters(), strict=True))


def test_every_parameter_is_averaged(model: PixelCNN) -> None:
    ema = ExponentialMovingAverage(model, decay=0.9)
    move(model, 1.0)
    ema.update(model, 1)
    for (name, average), weight in zip(ema.model.named_parameters(), model.parameters(), strict=True):
        assert torch.allclose(average, weight - 2 / 11, atol=1e-5), name


def test_the_average_is_a_copy_for_evaluation(model: PixelCNN) -> None:
    model.train()
    ema = ExponentialMovingAverage(model, decay=0.9)
    before = ema.model.out.v.clone()
    move(model, 1.0)
    assert torch.equal(ema.model.out.v, before)
    assert model.training
    assert not ema.model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
