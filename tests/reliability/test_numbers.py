"""Numbers 25 and 26: losses, gradients and figures that are not finite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import load_weights
from cpixelcnn.runs.layout import checkpoint_paths, verify_checkpoint
from cpixelcnn.training import objective
from cpixelcnn.training import validation as between_epochs

Cli = Callable[..., Any]


class _NoGradient(torch.autograd.Function):
    """The identity, whose gradient is NaN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * torch.nan


POISONS: dict[str, Callable[[Tensor], Tensor]] = {
    "NaN loss": lambda log_prob: log_prob * torch.nan,
    "infinite loss": lambda log_prob: log_prob - torch.inf,
    "NaN gradient": lambda log_prob: _NoGradient.apply(log_prob),
}


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Spoil the likelihood of these training steps (the first is 1); validation keeps its own."""

    def poison(kind: str, steps: range) -> None:
        count = iter(range(1, 10**6))

        original = objective.pixel_log_probs

        def poisoned(*arguments: Any, **options: Any) -> Tensor:
            log_probs = original(*arguments, **options)
            return POISONS[kind](log_probs) if next(count) in steps else log_probs

        monkeypatch.setattr(objective, "pixel_log_probs", poisoned)

    return poison


def assert_all_finite(run: Path) -> None:
    for checkpoint in {path.resolve() for path in (run / "last", run / "best", *checkpoint_paths(run))}:
        verify_checkpoint(checkpoint)
        for name in ("model.safetensors", "ema.safetensors"):
            state = load_weights(checkpoint / name)[1]
            assert all(bool(tensor.isfinite().all()) for tensor in state.values()), (checkpoint, name)
        trainer = torch.load(checkpoint / "trainer.pt", weights_only=True)
        for moments in trainer["optimiser"]["state"].values():
            assert all(bool(moment.isfinite().all()) for moment in moments.values())


@pytest.mark.parametrize(
    "kind", ["NaN gradient", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("NaN loss", "infinite loss"))]
)
def test_bad_steps_are_skipped_and_counted(
    cli: Cli, training: list[object], poison: Callable[..., None], kind: str
) -> None:
    poison(kind, range(4, 6))
    outcome = cli(*training, "--epochs", 3, "--out", "run", "--max-bad-steps", 3)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("the step was skipped") == 2
    assert "step 4: " in outcome.err
    assert "step 5: " in outcome.err
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["bad_steps"] for line in lines] == [0, 2, 2]
    assert all(line["train_bpd"] > 0 and line["grad_norm"] > 0 for line in lines)
    assert [line["images_seen"] for line in lines] == [12, 24, 36]  # skipped images are seen: the clock goes on
    assert_all_finite(Path("run"))


@pytest.mark.parametrize("kind", POISONS)
def test_a_skipped_step_changes_nothing(
    cli: Cli, training: list[object], poison: Callable[..., None], kind: str
) -> None:
    poison(kind, range(1, 2))
    arguments = [*training, "--epochs", 1, "--lr", 0.1, "--batch-size", 12, "--ema-decay", 0]
    assert cli(*arguments, "--out", "run").code == 0
    before = load_weights(Path("run/last/model.safetensors"))[1]
    torch.manual_seed(1)
    after = load_weights(Path("run/last/ema.safetensors"))[1]
    assert all(torch.equal(before[name], after[name]) for name in before)
    trainer = torch.load("run/last/trainer.pt", weights_only=True)
    numbers = [number for moments in trainer["optimiser"]["state"].values() for number in moments.values()]
    assert numbers
    assert not any(bool(number.any()) for number in numbers)  # Adam never made a step
    assert trainer["progression"]["bad_steps"] == 1
    line = json.loads(Path("run/metrics.jsonl").read_text())
    assert line["train_bpd"] is None
    assert line["grad_norm"] is None
    assert line["accuracy"] is not None


def test_too_many_in_a_row_end_the_training(cli: Cli, training: list[object], poison: Callable[..., None]) -> None:
    poison("NaN loss", range(5, 100))
    outcome = cli(*training, "--epochs", 9, "--out", "run", "--max-bad-steps", 4)
    assert outcome.code == 5
    assert outcome.err.count("the step was skipped") == 4
    assert "4 steps in a row" in outcome.err
    assert "--lr" in outcome.err
    assert "run" in outcome.err.splitlines()[-1]
    assert_all_finite(Path("run"))
    assert cli("bpd", "--model", "run").code == 0


def test_bad_steps_that_are_not_in_a_row_do_not_add_up(
    cli: Cli, training: list[object], poison: Callable[..., None]
) -> None:
    poison("NaN loss", range(1, 100, 2))
    outcome = cli(*training, "--epochs", 3, "--out", "run", "--max-bad-steps", 2)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("the step was skipped") == 5


@pytest.mark.parametrize("bad_epoch", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_validation_that_is_not_a_number_is_never_the_best_and_blocks_nothing(
    cli: Cli, training: list[object], monkeypatch: pytest.MonkeyPatch, bad_epoch: int
) -> None:
    original_evaluate, original_log_prob = between_epochs.evaluate, PixelCNN.log_prob
    epochs = iter(range(1, 100))
    accuracy: dict[int, float] = {}

    def evaluate(model: PixelCNN, *arguments: Any, **options: Any) -> Any:
        epoch = next(epochs)
        spoil = torch.nan if epoch == bad_epoch else 0.0
        monkeypatch.setattr(PixelCNN, "log_prob", lambda *args: original_log_prob(*args) + spoil)
        try:
            result = original_evaluate(model, *arguments, **options)
        finally:
            monkeypatch.setattr(PixelCNN, "log_prob", original_log_prob)
        accuracy[epoch] = result.scores.accuracy if result.scores else -1.0
        return result

    monkeypatch.setattr(between_epochs, "evaluate", evaluate)
    outcome = cli(*training, "--epochs", 3, "--out", "run")
    assert outcome.code == 0, outcome.err
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    bad = lines[bad_epoch - 1]
    assert all(bad[name] is None for name in ("accuracy", "validation_bpd", "validation_bpd_marginal", "nll_posterior"))
    assert f"step-{3 * bad_epoch:08d}" != Path("run/best").resolve().name
    assert Path("run/best").exists()
