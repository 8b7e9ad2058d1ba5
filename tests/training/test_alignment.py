"""Condition contrastive alignment: its value and gradient by the paper's formula, and a training with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.config import DataConfig, RunConfig, TrainConfig
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import load_weights
from cpixelcnn.training.alignment import alignment_loss, frozen_copy, make_objective
from cpixelcnn.training.batches import Batch
from cpixelcnn.training.objective import Objective, wrong_classes

CPU = torch.device("cpu")
Fit = Callable[..., Any]


def aligned(model: PixelCNN, reference: PixelCNN | None, **options: Any) -> Objective:
    train = TrainConfig(init_from="a model", **{"alignment_scale": 0.1, "alignment_weight": 3.0, **options})
    return make_objective(RunConfig(model.config, DataConfig(), train), "float32", CPU, reference)


def make_batch(n: int, first: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(n)
    images = torch.randint(0, 256, (n, 3, 4, 4), dtype=torch.uint8, generator=generator)
    return Batch(images, torch.randint(0, 3, (n,), generator=generator), first)


def test_value_and_gradient_are_those_of_the_paper(make_model: Callable[..., PixelCNN]) -> None:
    model, reference = make_model(dropout=0.0).train(), frozen_copy(make_model(seed=1, dropout=0.0))
    batch, beta, weight = make_batch(6), 0.1, 3.0
    loss = aligned(model, reference)(model, batch, 0, 6)
    wrong = wrong_classes(batch.labels, batch.numbers, nr_classes=3, count=1, seed=0)[:, 0]
    right = model.log_prob(batch.images, batch.labels)
    gain = right - reference.log_prob(batch.images, batch.labels)
    wrong_gain = model.log_prob(batch.images, wrong) - reference.log_prob(batch.images, wrong)
    expected = (-torch.log(torch.sigmoid(beta * gain)) - weight * torch.log(torch.sigmoid(-beta * wrong_gain))).mean()
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-4)
    assert loss.bits_per_dim.item() == pytest.approx(-right.mean().item() / (48 * math.log(2)), rel=1e-6)
    parameters = list(model.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(loss.total, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        assert torch.allclose(mine, theirs.float(), rtol=1e-3, atol=1e-5)
    assert all(parameter.grad is None for parameter in reference.parameters())


def test_at_the_start_it_is_log_two_for_each_class_and_pulls_them_apart(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model(dropout=0.0).train()
    loss = aligned(model, frozen_copy(model))(model, make_batch(5), 0, 5)
    assert loss.total.item() == pytest.approx(4 * math.log(2), rel=1e-5)
    gains = torch.zeros(2, requires_grad=True)
    alignment_loss(gains[0], gains[1], 0.1, 3.0).backward()
    assert gains.grad is not None
    assert gains.grad.tolist() == pytest.approx([-0.05, 0.15])


def test_differences_of_any_size_are_finite() -> None:
    gains = torch.tensor([1e6, -1e6, 0.0], dtype=torch.float64)
    assert alignment_loss(gains, gains, 0.5, 1.0).tolist() == pytest.approx([5e5, 5e5, 2 * math.log(2)])


def test_parts_add_up_to_the_whole(make_model: Callable[..., PixelCNN]) -> None:
    model, batch = make_model(dropout=0.0).train(), make_batch(7, first=100)
    objective = aligned(model, frozen_copy(make_model(seed=1)))
    whole = objective(model, batch, 100, 7)
    cut = [Batch(batch.images[a:b], batch.labels[a:b], 100 + a) for a, b in ((0, 3), (3, 4), (4, 7))]
    parts = [objective(model, part, 100, 7) for part in cut]
    assert sum(part.total.item() for part in parts) == pytest.approx(whole.total.item(), rel=1e-6)
    assert sum(part.bits_per_dim.item() for part in parts) == pytest.approx(whole.bits_per_dim.item(), rel=1e-6)


def test_without_a_reference_it_is_the_likelihood(make_model: Callable[..., PixelCNN]) -> None:
    assert type(aligned(make_model(), None)) is Objective


def test_a_training_compares_with_where_it_began_also_when_it_is_resumed(
    source: Path,
    fit: Fit,
    state: Callable[[Path], dict[str, Any]],
    differences: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    options = {"epochs": 2, "init_from": str(source), "alignment_scale": 0.02}
    fit(tmp_path / "whole", **options)
    reference, began = (
        load_weights(path)[1]
        for path in (tmp_path / "whole" / "reference.safetensors", source / "best" / "ema.safetensors")
    )
    assert all(torch.equal(reference[name], began[name]) for name in began)
    fit(tmp_path / "parts", stop_after_step=4, **options)
    fit(tmp_path / "parts", resume=True, **{**options, "init_from": "gone by now"})
    assert differences(state(tmp_path / "whole"), state(tmp_path / "parts")) == []
    (tmp_path / "parts" / "reference.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"reference\.safetensors, .* is gone; .*`init_from`"):
        fit(tmp_path / "parts", resume=True, **{**options, "epochs": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alignment_scale": 0.02}, "`init_from` must be a model where `alignment_scale` is not 0"),
        (
            {"alignment_scale": 0.02, "init_from": "x", "discriminative_weight": 0.1},
            "`discriminative_weight` must be 0",
        ),
        ({"alignment_scale": -1.0}, "`alignment_scale` must be 0 or more"),
        ({"alignment_weight": math.inf}, "`alignment_weight` must be 0 or more, and finite"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**options)


def test_a_model_without_classes_cannot_be_aligned(source: Path, fit: Fit, tmp_path: Path) -> None:
    changes = {"early_fusion": "none", "film": "none"}
    with pytest.raises(ConfigError, match="`alignment_scale` needs two classes or more"):
        fit(tmp_path / "run", alignment_scale=0.02, init_from=str(source), **changes)
