"""What was learned about weights and lies beside them: it belongs to these weights alone, and is read with care."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.errors import CheckpointError
from cpixelcnn.runs.side_files import SideFile


@dataclass(frozen=True)
class Scale:
    """An entry."""

    value: float
    source: str

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError(f"the value cannot be {self.value}")


SCALES = SideFile("scales.json", "scale", Scale, "measure again")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "ema.safetensors"
    path.write_bytes(b"average")
    return path


def test_an_entry_belongs_to_its_weights(weights: Path) -> None:
    raw = weights.with_name("model.safetensors")
    raw.write_bytes(b"raw")
    assert SCALES.find(weights) is None
    assert SCALES.save(weights, Scale(2.0, "here")) == weights.with_name("scales.json")
    assert SCALES.find(weights) == Scale(2.0, "here")
    assert SCALES.find(raw) is None
    SCALES.save(raw, Scale(3.0, "there"))
    assert (SCALES.find(weights), SCALES.find(raw)) == (Scale(2.0, "here"), Scale(3.0, "there"))
    weights.write_bytes(b"trained on")
    assert SCALES.find(weights) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        "[" * 10_000,
        '{"version": 2, "scales": {}}',
        '{"version": 1, "scales": []}',
        '{"version": 1}',
        " " * 2**21,
    ],
)
def test_files_of_another_kind_are_named_and_stay(content: str, weights: Path) -> None:
    path = weights.with_name("scales.json")
    path.write_text(content)
    for use in (lambda: SCALES.find(weights), lambda: SCALES.save(weights, Scale(1.0, ""))):
        with pytest.raises(CheckpointError, match=r"scales\.json.*remove it, and measure again"):
            use()
    assert path.read_text() == content


@pytest.mark.parametrize(
    "change",
    [{"value": "2"}, {"value": -1.0}, {"value": True}, {"value": None}, {"source": 3}, {"source": []}, {"extra": 1}],
)
def test_entries_that_cannot_be(change: dict[str, Any], weights: Path) -> None:
    path = SCALES.save(weights, Scale(2.0, "here"))
    document = json.loads(path.read_text())
    (stored,) = document["scales"].values()
    stored.update(change)
    path.write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=r"scales\.json is damaged.*remove it, and measure again"):
        SCALES.find(weights)
