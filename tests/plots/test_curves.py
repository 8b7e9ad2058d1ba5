"""The curves of a run: what is in them, with one record or many, and with figures that are missing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cpixelcnn.plots.curves import axis_top, draw_curves, save_curves
from cpixelcnn.plots.figures import pixels
from cpixelcnn.runs.metrics_log import EpochRecord, MetricsLog


def record(epoch: int, **figures: Any) -> EpochRecord:
    train = figures.pop("train_bpd", 3 + 3 / epoch)
    return EpochRecord(epoch, 3 * epoch, 20 * epoch, train, 1e-3, 0.25, 100.0, 0, 2.5, **figures)


def validated(epoch: int, accuracy: float = 0.5, **figures: Any) -> EpochRecord:
    usual = {
        "validation_images": 100,
        "validation_bpd": 4.0 - 0.01 * epoch,
        "validation_bpd_marginal": 3.9,
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.1,
        "accuracy_high": min(accuracy + 0.1, 1.0),
    }
    return record(epoch, **(usual | figures))


def test_the_panels_say_what_was_best() -> None:
    records = [validated(1, 0.5), record(2), validated(3, 0.75), validated(4, 0.75)]
    figure = draw_curves(records, title="runs/first: embedded", nr_classes=4)
    accuracy, bits = figure.axes
    assert accuracy.get_title() == "Accuracy: highest 75.0 %, epoch 3"
    assert bits.get_title() == "Bits/dim: lowest 3.960, epoch 4"
    lines = {line.get_label(): line.get_xydata().tolist() for line in accuracy.lines}
    assert lines["validation"] == [[1, 50], [3, 75], [4, 75]]
    assert lines["guessing"][0][1] == 25
    assert accuracy.collections[0].get_datalim(accuracy.transData).extents[3] == pytest.approx(85)
    training, validation = bits.lines
    assert training.get_xdata().tolist() == [1, 2, 3, 4]
    assert validation.get_xdata().tolist() == [1, 3, 4]
    assert figure._suptitle.get_text() == "runs/first: embedded"


@pytest.mark.parametrize(
    "records",
    [
        [validated(1)],
        [record(1)],
        [validated(1, train_bpd=None), validated(2, accuracy_low=None, accuracy_high=None)],
        [validated(1, validation_bpd=None), validated(5, train_bpd=math.nan)],
        [validated(epoch, validation_bpd=4.0, train_bpd=4.0) for epoch in range(1, 300)],
        *(
            pytest.param(records, marks=pytest.mark.slow)
            for records in (
                [record(1), validated(2)],
                [validated(epoch, epoch / 300) for epoch in range(1, 300)],
                [validated(1, 0.0), validated(2, 1.0)],
            )
        ),
    ],
    ids=["one", "not validated", "gaps", "not finite", "flat", "late", "many", "extremes"],
)
def test_any_figures_can_be_drawn(records: list[EpochRecord]) -> None:
    picture = pixels(draw_curves(records))
    assert picture.shape == (480, 1200, 3)
    colours = Image.fromarray(picture).getcolors(maxcolors=480 * 1200)
    assert len(colours) > 20


def test_without_accuracy_there_is_one_wide_panel() -> None:
    unconditional = [record(epoch, validation_images=10, validation_bpd_marginal=5.0 - epoch) for epoch in range(1, 3)]
    (bits,) = draw_curves(unconditional).axes
    assert bits.get_ylabel() == "bits per dimension"


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_curves([])
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_curves([record(1, train_bpd=None)])


def test_the_first_epochs_of_a_long_training_do_not_flatten_the_rest() -> None:
    assert axis_top([6.0, 5.0, 4.0]) == math.inf
    assert axis_top([8.0, 6.0, 4.0] + [3.1] * 20 + [3.0] * 20) == pytest.approx(3.4)
    assert axis_top([3.0] * 40) == math.inf
    steady = [6.0 - 0.1 * i for i in range(30)]
    assert axis_top(steady) > max(steady)


def test_the_picture_is_drawn_anew_from_the_figures_alone(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.append(validated(1))
    path = save_curves(tmp_path)
    assert path == tmp_path / "curves.png"
    with Image.open(path) as picture:
        assert picture.size == (1200, 480)
    first = path.read_bytes()
    log.append(validated(2))
    save_curves(tmp_path)
    assert path.read_bytes() != first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png", "metrics.csv", "metrics.jsonl"]


def test_damaged_metrics(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1\n')
    with pytest.raises(ValueError, match="nothing to draw"):
        save_curves(tmp_path)
    assert not (tmp_path / "curves.png").exists()
