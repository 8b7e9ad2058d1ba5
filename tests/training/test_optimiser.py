"""The optimiser: decoupled decay of the directions alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.config import TrainConfig
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.training.optimiser import decay_weights, decayed_parameters, make_optimiser

Fit = Callable[..., Any]
State = Callable[[Path], dict[str, Any]]


@pytest.mark.parametrize("fusion", ["vector", "template"])
def test_only_directions_are_decayed(make_model: Callable[..., PixelCNN], fusion: str) -> None:
    model = make_model(early_fusion=fusion, film="mlp")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = [names[id(parameter)] for parameter in decayed_parameters(model)]
    assert sorted(decayed) == sorted(name for name in names.values() if name.endswith(".v"))
    assert {"u_in.v", "out.v", "u_double.0.v"} <= set(decayed)


def test_the_decay_changes_no_function(
    make_model: Callable[..., PixelCNN],
) -> None:
    model = make_model()
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    labels = torch.tensor([0, 2])
    before = model.log_prob(images, labels)
    decay_weights(decayed_parameters(model), torch.tensor(0.5))
    assert torch.allclose(model.log_prob(images, labels), before, rtol=1e-6)


def test_a_step_is_adamws(make_model: Callable[..., PixelCNN]) -> None:
    """torch's AdamW with two groups of parameters does the same, in another order of the same operations."""
    options = TrainConfig(lr=0.01, weight_decay=0.3)
    ours, theirs = make_model(), make_model()
    optimiser = make_optimiser(ours, options)
    directions = decayed_parameters(theirs)
    others = [p for p in theirs.parameters() if all(p is not direction for direction in directions)]
    groups = [{"params": directions, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(options.beta1, options.beta2))
    for step in range(3):
        for model in (ours, theirs):
            generator = torch.Generator().manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        decay_weights(decayed_parameters(ours), torch.tensor(0.01 * 0.3))
        optimiser.step()
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-7)


def test_a_training_decays_and_a_decay_of_zero_is_none(
    fit: Fit, state: State, differences: Callable[..., list[str]], tmp_path: Path
) -> None:
    for name, decay in (("none", 0.0), ("some", 50.0)):
        fit(tmp_path / name, epochs=1, weight_decay=decay, stop_after_step=1)
    none, some = state(tmp_path / "none"), state(tmp_path / "some")
    changed = [name.removeprefix("model.") for name in differences(none, some) if name.startswith("model.")]
    assert changed
    assert all(name.endswith(".v") for name in changed)
    lengths = [float(found["model.out.v"].norm()) for found in (none, some)]
    assert lengths[1] == pytest.approx(lengths[0] * (1 - 3e-3 * 50), rel=0.05)


def test_it_may_change_when_a_run_goes_on(fit: Fit, tmp_path: Path) -> None:
    """The optimiser's state has the same layout with and without it."""
    fit(tmp_path / "run", epochs=1)
    fit(tmp_path / "run", epochs=2, resume=True, weight_decay=0.1)
    fit(tmp_path / "run", epochs=3, resume=True, weight_decay=0.0)
