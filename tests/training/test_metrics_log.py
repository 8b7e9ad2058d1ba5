"""The figures of the epochs in both formats, and what becomes of them when a run goes on."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.runs.metrics_log import EpochRecord, MetricsLog, read_records
from cpixelcnn.training import run_writer


def record(epoch: int, **figures: float) -> EpochRecord:
    return EpochRecord(epoch, epoch * 3, epoch * 20, 4.5 / epoch, 1e-3, 0.25, 100.0, 0, 2.5, **figures)  # type: ignore[arg-type]


def test_both_formats_hold_every_record(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.append(record(1, accuracy=0.5, validation_bpd=1 / 3))
    log.append(record(2))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [asdict(record(1, accuracy=0.5, validation_bpd=1 / 3)), asdict(record(2))]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [field.name for field in fields(EpochRecord)]
    assert float(table[0]["validation_bpd"]) == 1 / 3  # unrounded
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert table[1]["accuracy"] == ""
    assert not list(tmp_path.glob(".*"))


def test_going_on_drops_later_records(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    for epoch in (1, 2, 3):
        log.append(record(epoch))
    resumed = MetricsLog(tmp_path, 1)
    assert [row.epoch for row in resumed.records] == [1]
    resumed.append(record(2, accuracy=0.75))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["accuracy"]) for line in lines] == [(1, None), (2, 0.75)]


def test_a_fresh_run_forgets_records_without_a_checkpoint(tmp_path: Path) -> None:
    MetricsLog(tmp_path, 0).append(record(1))
    assert MetricsLog(tmp_path, 0).records == []


def test_not_a_number_is_not_json(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.append(record(1))
    with pytest.raises(ValueError, match="JSON"):
        log.append(record(2, accuracy=float("nan")))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.append(record(1, accuracy=0.5))
    log.append(record(2))
    assert read_records(tmp_path / "metrics.jsonl") == ([record(1, accuracy=0.5), record(2)], 0)
    assert read_records(tmp_path / "absent") == ([], 0)


@pytest.mark.parametrize(
    "damage",
    [
        b'{"no": "record"}',
        b'{"epoch": "2", "step": 2',
        b"[" * 100_000,
        b"null",
        b"\xff\xfe",
        json.dumps({**asdict(record(2)), "accuracy": "high"}).encode(),
        json.dumps({**asdict(record(2)), "seconds": None}).encode(),
        json.dumps({**asdict(record(2)), "train_bpd": math.nan}).encode(),
        json.dumps({**asdict(record(2)), "step": True}).encode(),
        json.dumps({**asdict(record(2)), "epoch": 10**400}).encode(),
    ],
    ids=["other", "cut", "deep", "null", "no text", "string", "missing", "not a number", "boolean", "huge"],
)
def test_a_damaged_line_is_left_out_and_its_file_kept(tmp_path: Path, damage: bytes) -> None:
    MetricsLog(tmp_path, 0).append(record(1))
    path = tmp_path / "metrics.jsonl"
    content = path.read_bytes() + damage + b"\n"
    path.write_bytes(content)
    assert read_records(path) == ([record(1)], 1)
    resumed = MetricsLog(tmp_path, 2)
    assert path.read_bytes() == content, "it is not written to before there is something to write"
    resumed.append(record(3))
    assert read_records(path) == ([record(1), record(3)], 0)
    assert (tmp_path / "metrics.damaged.jsonl").read_bytes() == content


@pytest.mark.timeout(20)
def test_metrics_that_cannot_be_read_at_all_lock_no_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    MetricsLog(tmp_path, 1).append(record(1))
    assert read_records(tmp_path / "metrics.jsonl") == ([record(1)], 0)


def test_curves_are_drawn_after_each_validation(
    fit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[int]] = []

    def spy(run: Path, **_: Any) -> None:
        drawn.append([row.epoch for row in read_records(run / "metrics.jsonl")[0]])

    monkeypatch.setattr(run_writer, "save_curves", spy)
    fit(tmp_path / "run", epochs=3, eval_interval=2)
    assert drawn == [[1, 2], [1, 2, 3]]


def test_curves_that_cannot_be_drawn_stop_nothing(
    fit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run: Path, **_: Any) -> None:
        raise ZeroDivisionError("no range")

    monkeypatch.setattr(run_writer, "save_curves", broken)
    recorder = fit(tmp_path / "run", epochs=1)
    assert len(recorder.epochs) == 1
    assert recorder.warnings == ["the curves could not be drawn (no range)"]
