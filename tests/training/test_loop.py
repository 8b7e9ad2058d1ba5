"""The loop: reproducible, downhill, and exactly the schedule that its configuration describes."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.config import RunConfig, TrainConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.runs.layout import verify_checkpoint
from cpixelcnn.runs.metrics_log import EpochRecord
from cpixelcnn.runs.models import load
from cpixelcnn.training import validation as between_epochs
from cpixelcnn.training.batches import BatchSource
from cpixelcnn.training.schedule import learning_rate
from cpixelcnn.training.validation import is_better

Fit = Callable[..., Any]
State = Callable[[Path], dict[str, Any]]
CPU = torch.device("cpu")


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """The images and labels of every training step, as the network gets them."""
    batches: list[tuple[Tensor, Tensor]] = []
    original = BatchSource.batch

    def spy(feed: BatchSource, indices: Tensor, first: int) -> Any:
        batch = original(feed, indices, first)
        batches.append((batch.images, batch.labels))
        return batch

    monkeypatch.setattr(BatchSource, "batch", spy)
    return batches


def test_a_seed_repeats_bit_for_bit(
    fit: Fit, state: State, differences: Callable[..., list[str]], rows: Callable[[Path], Any], tmp_path: Path
) -> None:
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        fit(tmp_path / name, seed=seed, epochs=1)
    assert differences(state(tmp_path / "one"), state(tmp_path / "same")) == []
    assert rows(tmp_path / "one") == rows(tmp_path / "same")
    assert "model.out.v" in differences(state(tmp_path / "one"), state(tmp_path / "other"))


def test_the_loss_goes_down_and_the_classes_are_learned(fit: Fit, tmp_path: Path) -> None:
    recorder = fit(tmp_path / "run", epochs=8, lr=0.01, lr_decay=0.999, dropout=0.0)
    losses = [record.train_bpd for record, _ in recorder.epochs]
    assert losses[-1] < losses[0] - 1
    assert recorder.epochs[-1][0].validation_bpd < 8  # better than knowing nothing
    assert max(record.accuracy for record, _ in recorder.epochs) == 1.0


def test_every_image_is_seen_once_an_epoch(
    fit: Fit, fed: list[tuple[Tensor, Tensor]], train_set: ImageSet, tmp_path: Path
) -> None:
    steps = fit(tmp_path / "run", epochs=2, horizontal_flip=False).steps
    assert [step.images_seen for step in steps] == [8, 16, 20, 28, 36, 40]
    assert [step.images_in_epoch for step in steps] == [8, 16, 20] * 2
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert all(step.epoch_images == 20 for step in steps)
    whole = {
        image.numpy().tobytes(): int(label) for image, label in zip(train_set.images, train_set.labels, strict=True)
    }
    orders = []
    for batches in (fed[:3], fed[3:]):
        images = [image.numpy().tobytes() for batch, _ in batches for image in batch]
        labels = [int(label) for _, batch in batches for label in batch]
        assert sorted(images) == sorted(whole)
        assert labels == [whole[image] for image in images]
        orders.append(images)
    assert orders[0] != orders[1]


def test_flips_are_mirror_images_and_nothing_else(
    fit: Fit, fed: list[tuple[Tensor, Tensor]], train_set: ImageSet, tmp_path: Path
) -> None:
    fit(tmp_path / "run", epochs=3)
    straight = {image.numpy().tobytes() for image in train_set.images}
    mirrored = {image.flip(2).contiguous().numpy().tobytes() for image in train_set.images}
    epochs = [
        [image.contiguous().numpy().tobytes() for images, _ in fed[i : i + 3] for image in images] for i in (0, 3, 6)
    ]
    for images in epochs:
        assert set(images) <= straight | mirrored
        assert 0 < len(set(images) & mirrored) < 20
    assert len({frozenset(set(images) & mirrored) for images in epochs}) == 3  # drawn anew each epoch
    fit(tmp_path / "again", epochs=1)
    assert [image.contiguous().numpy().tobytes() for images, _ in fed[9:12] for image in images] == epochs[0]


def test_the_learning_rate_decays_at_every_step(fit: Fit, tmp_path: Path) -> None:
    steps = fit(tmp_path / "run", epochs=2, lr=0.01, lr_decay=0.5).steps
    assert [step.lr for step in steps] == pytest.approx([0.01 * 0.5**i for i in range(6)])
    assert learning_rate(TrainConfig(lr=2.0, lr_decay=0.1), 3) == pytest.approx(0.002)


def test_gradients_are_clipped_only_if_asked(fit: Fit, state: State, tmp_path: Path) -> None:
    """Adam's first step is lr * sign(g) whatever the length of g, but its first moment is (1 - beta1) * g."""
    moments = {}
    for limit in (0.0, 0.25):
        recorder = fit(tmp_path / str(limit), clip_grad_norm=limit, stop_after_step=1)
        found = state(tmp_path / str(limit))
        squares = [float(value.square().sum()) for key, value in found.items() if key.endswith(".exp_avg")]
        moments[limit] = math.sqrt(sum(squares)) / (1 - 0.95)
        assert recorder.steps[0].grad_norm > 1  # reported as it was before clipping
    assert moments[0.0] == pytest.approx(recorder.steps[0].grad_norm, rel=1e-3)
    assert moments[0.25] == pytest.approx(0.25, rel=1e-3)


def test_the_record_says_what_happened(fit: Fit, tmp_path: Path) -> None:
    recorder = fit(tmp_path / "run", epochs=2, lr=0.01, lr_decay=0.5)
    (first, _), (second, _) = recorder.epochs
    steps = recorder.steps
    sizes = (8, 8, 4)
    bits = sum(step.bits_per_dim * size for step, size in zip(steps[:3], sizes, strict=True)) / 20
    assert (first.epoch, first.step, first.images_seen, first.bad_steps) == (1, 3, 20, 0)
    assert first.train_bpd == pytest.approx(bits)
    assert first.lr == pytest.approx(0.01 * 0.5**2)
    assert second.lr == pytest.approx(0.01 * 0.5**5)
    assert min(step.grad_norm for step in steps[:3]) <= first.grad_norm <= max(step.grad_norm for step in steps[:3])
    assert first.validation_images == 8
    assert first.accuracy_low <= first.accuracy <= first.accuracy_high
    assert second.seconds > first.seconds > 0


def test_a_finished_run_holds_what_it_promises(fit: Fit, config: Callable[..., RunConfig], tmp_path: Path) -> None:
    run = tmp_path / "a" / "run"
    recorder = fit(run, epochs=2, draw=True)
    assert {path.name for path in run.iterdir()} >= {
        "config.json",
        "metrics.csv",
        "metrics.jsonl",
        "samples",
        "best",
        "last",
    }
    assert RunConfig.from_json(json.loads((run / "config.json").read_text())) == config(epochs=2)
    assert verify_checkpoint(run / "last")["finished"] is True
    assert sorted(path.name for path in (run / "last").iterdir()) == [
        "config.json",
        "ema.safetensors",
        "manifest.json",
        "model.safetensors",
        "trainer.pt",
    ]
    assert [path.name for path in (run / "samples").iterdir()] == ["epoch-0002.png"]
    best = [record.step for record, is_best in recorder.epochs if is_best][-1]
    assert (run / "best").resolve().name == f"step-{best:08d}"
    assert not list(run.rglob("*.tmp"))
    assert not list((run / "checkpoints").glob(".*"))
    model = load(run)
    assert not model.training
    assert model.config.classes == ("cat", "dog")


def test_the_average_is_validated_not_the_weights(
    fit: Fit, validation_set: ImageSet, tmp_path: Path, state: State
) -> None:
    recorder = fit(tmp_path / "run", epochs=1, lr=0.02)
    record = recorder.epochs[0][0]
    for ema, expected in ((True, True), (False, False)):
        evaluation = between_epochs.evaluate(load(tmp_path / "run", ema=ema), validation_set)
        assert (evaluation.density.bpd == pytest.approx(record.validation_bpd, rel=1e-6)) is expected


def test_intervals(fit: Fit, rows: Callable[[Path], Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run, epochs=5, eval_interval=2, sample_interval=2)
    assert [row["epoch"] for row in rows(run) if row["accuracy"] is not None] == [2, 4, 5]  # the last one in any case
    assert sorted(path.name for path in (run / "samples").iterdir()) == [
        "epoch-0002.png",
        "epoch-0004.png",
        "epoch-0005.png",
    ]


def test_validation_on_a_stratified_subset(
    fit: Fit, make_images: Callable[..., ImageSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ImageSet] = []
    original = between_epochs.evaluate

    def spy(model: PixelCNN, images: ImageSet, **options: Any) -> Any:
        seen.append(images)
        return original(model, images, **options)

    monkeypatch.setattr(between_epochs, "evaluate", spy)
    whole = make_images(12, seed=1, split="validation")
    uneven = whole.select(torch.tensor([0, 2, 4, 6, 8, 10, 1, 3, 5]))  # six cats, then three dogs
    record = fit(tmp_path / "run", epochs=1, eval_images=4, validation=uneven).epochs[0][0]
    assert record.validation_images == 4
    assert torch.equal(seen[0].images, uneven.images[[0, 1, 6, 7]])
    assert seen[0].labels.tolist() == [0, 0, 1, 1]


def test_an_unconditional_model_trains_without_labels(
    fit: Fit, make_images: Callable[..., ImageSet], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"early_fusion": "none", "film": "none", "classes": (), "class_counts": ()}
    recorder = fit(
        tmp_path / "run",
        epochs=4,
        lr=0.01,
        lr_decay=0.99,
        images=make_images(20, labelled=False),
        validation=make_images(8, seed=1, labelled=False),
        **options,
    )
    bits = [record.validation_bpd_marginal for record, _ in recorder.epochs]
    assert bits[-1] < bits[0]
    assert all(record.accuracy is None and record.validation_bpd is None for record, _ in recorder.epochs)
    assert recorder.epochs[bits.index(min(bits))][1]  # the lowest bits/dim were the best
    assert not load(tmp_path / "run").config.conditional


def test_labels_are_needed_where_the_model_has_classes(
    fit: Fit, make_images: Callable[..., ImageSet], train_set: ImageSet, tmp_path: Path
) -> None:
    unlabelled = dataclasses.replace(train_set, labels=torch.full((20,), -1))
    with pytest.raises(DataError, match="20 of the 20 images of toys"):
        fit(tmp_path / "run", images=unlabelled)
    with pytest.raises(DataError, match="no images"):
        fit(tmp_path / "run", validation=train_set.select(torch.empty(0, dtype=torch.int64)))
    with pytest.raises(ConfigError, match="bird"):
        fit(tmp_path / "run", images=dataclasses.replace(train_set, classes=("cat", "bird")))
    assert not (tmp_path / "run").exists()


def test_bfloat16_trains_much_like_float32(fit: Fit, tmp_path: Path) -> None:
    bits = {
        name: fit(tmp_path / name, epochs=1, precision=name, dropout=0.0).epochs[0][0].train_bpd
        for name in ("float32", "bfloat16")
    }
    assert bits["bfloat16"] == pytest.approx(bits["float32"], rel=0.02)
    assert bits["bfloat16"] != bits["float32"]


def record(**figures: float | None) -> EpochRecord:
    return EpochRecord(1, 1, 1, 1.0, 1.0, 1.0, 1.0, 0, 1.0, **figures)  # type: ignore[arg-type]


BEST = {"accuracy": 0.5, "nll_posterior": 1.0, "validation_bpd_marginal": 4.0}


@pytest.mark.parametrize(
    ("figures", "best", "expected"),
    [
        ({"accuracy": 0.6, "nll_posterior": 9.0}, BEST, True),
        ({"accuracy": 0.4, "nll_posterior": 0.1}, BEST, False),
        ({"accuracy": 0.5, "nll_posterior": 0.9}, BEST, True),
        ({"accuracy": 0.5, "nll_posterior": 1.0}, BEST, False),
        ({"accuracy": 0.0, "nll_posterior": 9.0}, {}, True),
        ({"accuracy": math.nan, "nll_posterior": 0.1}, {}, False),
        ({"accuracy": 0.5, "nll_posterior": math.nan}, BEST, False),
        ({"accuracy": 0.5, "nll_posterior": None}, BEST, False),
        ({"accuracy": 0.5, "nll_posterior": 1.0}, {"accuracy": 0.5}, True),  # an NLL that was not finite blocks nothing
        ({"validation_bpd_marginal": 3.9}, {"validation_bpd_marginal": 4.0}, True),
        ({"validation_bpd_marginal": 4.1}, {"validation_bpd_marginal": 4.0}, False),
        ({"validation_bpd_marginal": math.nan}, {}, False),
        ({"validation_bpd_marginal": None}, {}, False),
        ({}, {}, False),
        ({"accuracy": 0.6, "validation_bpd_marginal": 7.0}, {**BEST, "validation_bpd_marginal": 1.0}, True),
    ],
)
def test_what_is_better(figures: dict[str, float | None], best: dict[str, float], expected: bool) -> None:
    assert is_better(record(**figures), best) is expected
