"""Several processes with the global batch of one make its steps, to rounding."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import distributed_work
import pytest
import torch
from torch import Tensor

from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import load_weights
from cpixelcnn.runs.models import load

Results = Callable[..., list[Any]]
CLOSE = {"rel": 2e-5, "abs": 1e-6}


def weights(run: Path, name: str = "model") -> dict[str, Tensor]:
    return load_weights((run / "last").resolve() / f"{name}.safetensors")[1]


def figures(records: list[dict[str, Any]], *names: str) -> list[Any]:
    return [record[name] for record in records for name in names]


def assert_same_training(alone: dict[str, Any], joined: dict[str, Any], **tolerance: float) -> None:
    tolerance = {**CLOSE, **tolerance}
    exact, close = ("step", "epoch", "images_in_epoch", "images_seen", "lr"), ("bits_per_dim", "grad_norm")
    assert figures(joined["steps"], *exact) == figures(alone["steps"], *exact)
    assert figures(joined["steps"], *close) == pytest.approx(figures(alone["steps"], *close), **tolerance)
    exact, close = ("epoch", "validation_images", "bad_steps"), ("train_bpd", "grad_norm", "validation_bpd_marginal")
    assert figures(joined["epochs"], *exact) == figures(alone["epochs"], *exact)
    assert figures(joined["epochs"], *close) == pytest.approx(figures(alone["epochs"], *close), **tolerance)


@pytest.mark.parametrize(
    ("count", "options"),
    [
        pytest.param(2, {}, id="even shares", marks=pytest.mark.slow),  # a case of the next
        pytest.param(3, {"images": 17, "epochs": 1}, id="uneven shares, and one image for three processes"),
        pytest.param(
            2, {"accumulate": 3, "clip_grad_norm": 0.2, "recompute_activations": True, "epochs": 1}, id="in parts"
        ),
        pytest.param(3, {"images": 10, "discriminative_weight": 0.1, "shift": 1, "epochs": 1}, id="discriminative"),
    ],
)
def test_the_steps_are_those_of_one_process(results: Results, tmp_path: Path, count: int, options: Any) -> None:
    alone = distributed_work.training(tmp_path / "one", **options)
    joined = results(distributed_work.training, count, run=tmp_path / "many", **options)
    # A difference of log-probabilities of hundreds of nats each magnifies their rounding.
    tolerance = {"rel": 1e-3} if "discriminative_weight" in options else {}
    for one in joined:
        assert_same_training(alone, one, **tolerance)
        assert one["steps"] == joined[0]["steps"]  # what any process knows of a step is the same
        assert one["epochs"][-1]["validation_bpd_marginal"] == joined[0]["epochs"][-1]["validation_bpd_marginal"]
    for name in ("model", "ema"):
        mine, theirs = weights(tmp_path / "one", name), weights(tmp_path / "many", name)
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            assert torch.allclose(tensor, theirs[key], rtol=1e-3, atol=2e-4), key


def test_dropout_repeats_and_differs_between_processes(results: Results, tmp_path: Path) -> None:
    for name in ("one", "same"):
        results(distributed_work.training, 2, run=tmp_path / name, images=10, dropout=0.5, epochs=1)
    for name in ("model", "ema"):
        first, second = weights(tmp_path / "one", name), weights(tmp_path / "same", name)
        assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
    plain = load(tmp_path / "one")  # what several processes save has the names of a model that nothing wraps
    assert plain.device.type == "cpu"
    assert plain.state_dict().keys() == weights(tmp_path / "one").keys()
    assert sorted(path.name for path in (tmp_path / "one" / "samples").iterdir()) == ["epoch-0001.png"]
    alone = distributed_work.training(tmp_path / "alone", images=10, dropout=0.5, epochs=1)
    assert alone["outcome"] == "finished"
    assert not torch.equal(weights(tmp_path / "alone")["out.v"], weights(tmp_path / "one")["out.v"])


@pytest.mark.parametrize(("before", "after"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.slow)])
def test_a_run_goes_on_with_another_number_of_processes(
    results: Results, tmp_path: Path, before: int, after: int
) -> None:
    def train(count: int, **options: Any) -> dict[str, Any]:
        if count == 1:
            return distributed_work.training(tmp_path / "parts", **options)
        return results(distributed_work.training, count, run=tmp_path / "parts", **options)[0]

    whole = distributed_work.training(tmp_path / "whole")
    first = train(before, signals={before - 1: 4})
    assert first["outcome"] == "signal 15"
    second = train(after, resume=True)
    assert second["steps"][0]["images_seen"] > first["steps"][-1]["images_seen"]
    steps = {"steps": first["steps"] + second["steps"], "epochs": first["epochs"] + second["epochs"]}
    assert_same_training(whole, steps)


def test_a_loss_that_is_not_finite_in_one_process_is_skipped_by_all(results: Results, tmp_path: Path) -> None:
    run = tmp_path / "run"
    joined = results(distributed_work.training, 2, run=run, nan=(1, range(2, 4)), epochs=1)
    for one in joined:
        bad = [step["step"] for step in one["steps"] if step["bits_per_dim"] != step["bits_per_dim"]]
        assert bad == [2, 3]
        assert one["warnings"] == [f"step {i}: loss or gradient is not finite; the step was skipped" for i in (2, 3)]
        assert one["epochs"][-1]["bad_steps"] == 2
    assert all(bool(tensor.isfinite().all()) for tensor in weights(run).values())


def test_figures_do_not_depend_on_the_processes(results: Results) -> None:
    """Bit for bit: 21 images in batches of 4 are six batches, the last of one image."""
    images = distributed_work.toys(21, "test", seed=3)
    torch.manual_seed(0)
    for config in (
        distributed_work.MODEL,
        dataclasses.replace(distributed_work.MODEL, early_fusion="none", film="none", classes=()),
    ):
        model = PixelCNN(config).eval()
        alone = distributed_work.evaluation(model, images, 4)
        assert alone[0] == 21
        assert results(distributed_work.evaluation, 3, model=model, images=images, batch_size=4) == [alone] * 3
        few = images.select(torch.arange(2))  # a batch for one process, and none for the other
        alone = distributed_work.evaluation(model, few, 4)
        assert results(distributed_work.evaluation, 2, model=model, images=few, batch_size=4) == [alone] * 2
