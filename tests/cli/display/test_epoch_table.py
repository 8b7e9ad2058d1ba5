"""Epochs as rows, as small tables and as plain lines."""

from __future__ import annotations

from typing import Any

import pytest

from cpixelcnn.cli.display.epoch_table import EpochTable
from cpixelcnn.runs.metrics_log import EpochRecord

VALIDATED: dict[str, Any] = {
    "validation_images": 100,
    "validation_bpd": 4.1234,
    "validation_bpd_marginal": 4.12,
    "accuracy": 0.5,
    "accuracy_low": 0.4,
    "accuracy_high": 0.6,
    "f1_macro": 0.49,
}


def record(epoch: int, **figures: Any) -> EpochRecord:
    return EpochRecord(epoch, 3, 20, 4.5, 1e-3, 0.25, 100.0, 0, 2.5, **figures)


def test_rows_of_one_table() -> None:
    table = EpochTable(12, conditional=True)
    assert table.width <= 80
    assert table.lines(record(1), False, 80) == [
        "epoch  bits/dim: train  validation  accuracy  95 % interval  macro F1",
        " 1/12            4.500           -         -              -         -",
    ]
    assert table.lines(record(2, **VALIDATED), True, 80) == [
        " 2/12            4.500       4.123    50.0 %   40.0 to 60.0    49.0 %  best"
    ]


def test_the_header_comes_again() -> None:
    table = EpochTable(300, conditional=True)
    assert [len(table.lines(record(epoch), False, 100)) for epoch in range(1, 42)] == [2, *[1] * 19] * 2 + [2]


@pytest.mark.parametrize("epochs", [1, 300, 5000])
def test_eighty_columns_are_enough(epochs: int) -> None:
    table = EpochTable(epochs, conditional=True)
    perfect = VALIDATED | {"accuracy": 1.0, "accuracy_low": 1.0, "accuracy_high": 1.0, "f1_macro": 1.0}
    assert max(map(len, table.lines(record(epochs, **perfect), True, 80))) <= 80


def test_without_classes_there_is_no_accuracy() -> None:
    table = EpochTable(12, conditional=False)
    figures = {"validation_images": 10, "validation_bpd_marginal": 4.12}
    assert table.lines(record(1, **figures), True, 80) == [
        "epoch  bits/dim: train  validation",
        " 1/12            4.500       4.120  best",
    ]


def test_narrow_terminals() -> None:
    lines = EpochTable(12, conditional=True).lines(record(2, **VALIDATED), True, 20)
    assert max(map(len, lines)) <= 20
    assert lines == [
        "epoch 2/12  best",
        "train      4.500",
        "validation 4.123",
        "accuracy   50.0 %",
        "95 %       40.0-60.0",
        "macro F1   49.0 %",
    ]
    assert EpochTable(12, conditional=True).lines(record(1), False, 40) == ["epoch 1/12", "train      4.500"]


def test_plain_lines_without_a_terminal() -> None:
    table = EpochTable(12, conditional=True)
    assert table.lines(record(2, **VALIDATED), True, None) == [
        "epoch 2/12  train 4.500  validation 4.123 bits/dim  accuracy 50.0 % (40.0-60.0)  best"
    ]
    assert table.lines(record(3), False, None) == ["epoch 3/12  train 4.500"]
    nothing = EpochRecord(4, 3, 20, None, 1e-3, None, None, 3, 2.5)
    assert table.lines(nothing, False, None) == ["epoch 4/12  train -"]
