"""The table from the papers to the files names files and things that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(
    r"^\| .+ \| .+ \| `([\w/]+\.py)` \| `(\w+)` \|$",
    (ROOT / "docs" / "model.md").read_text("utf-8"),
    flags=re.MULTILINE,
)


def test_the_table_is_found() -> None:
    assert len(ROWS) >= 24


@pytest.mark.parametrize(("file", "name"), ROWS, ids=lambda text: text)
def test_what_a_row_names_is_there(file: str, name: str) -> None:
    source = (ROOT / "src" / "cpixelcnn" / file).read_text("utf-8")
    assert re.search(rf"^\s*(class {name}\b|def {name}\b|self\.{name} =)", source, flags=re.MULTILINE)
