"""A step's batch in parts: the same gradient, and the same training up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.training.objective import Objective

Fit = Callable[..., Any]
State = Callable[[Path], dict[str, Any]]


def test_the_gradient_is_that_of_the_whole(fit: Fit, state: State, tmp_path: Path) -> None:
    """In parts of the same size, with a smaller one, of one image, and in more parts than images."""

    def step(accumulate: int) -> tuple[Any, dict[str, Any]]:
        run = tmp_path / str(accumulate)
        recorder = fit(run, accumulate=accumulate, dropout=0.0, stop_after_step=1)
        return recorder.steps[0], {key: value for key, value in state(run).items() if key.endswith(".exp_avg")}

    whole, gradient = step(1)
    for parts in (2, 3, 8, 50):
        assert_equal_up_to_rounding(whole, gradient, *step(parts))


def assert_equal_up_to_rounding(whole: Any, gradient: dict[str, Any], parted: Any, sums: dict[str, Any]) -> None:
    assert parted.bits_per_dim == pytest.approx(whole.bits_per_dim, rel=1e-6)
    assert parted.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert parted.images_seen == whole.images_seen == 8
    assert all(torch.allclose(gradient[name], sums[name], rtol=1e-3, atol=1e-7) for name in gradient)


def test_the_parts_are_as_large_as_can_be_expected(fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    original = Objective.__call__

    def spy(objective: Objective, model: Any, part: Any, first: int, images: int) -> Any:
        sizes.append((len(part), part.first - first))
        return original(objective, model, part, first, images)

    monkeypatch.setattr(Objective, "__call__", spy)
    fit(tmp_path / "run", epochs=1, accumulate=3)
    assert sizes == [(3, 0), (3, 3), (2, 6), (3, 0), (3, 3), (2, 6), (2, 0), (2, 2)]
