"""The reference pages say what the program does: generated, or compared with what they describe."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from cpixelcnn.presets import PRESETS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli_reference", DOCS / "make_cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_reference_is_up_to_date(generator: ModuleType) -> None:
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written == generator.reference(), "run: python docs/make_cli_reference.py"


def test_every_command_has_a_section(generator: ModuleType) -> None:
    sections = re.findall(r"^## cpixelcnn (\w+)$", generator.reference(), re.MULTILINE)
    assert sections == ["train", "eval", "classify", "sample", "fid", "bpd", "models", "checks"]


def test_the_table_of_presets_is_up_to_date(generator: ModuleType) -> None:
    page = (DOCS / "training-runs.md").read_text(encoding="utf-8")
    assert page == generator.with_presets(page), "run: python docs/make_cli_reference.py"


def test_the_table_lists_every_preset_with_its_sizes() -> None:
    page = (DOCS / "training-runs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+)/(\d+)/(\d+) \|", page, re.MULTILINE)
    assert [name for name, *_ in rows] == list(PRESETS)
    for (_, *sizes), preset in zip(rows, PRESETS.values(), strict=True):
        assert [int(size) for size in sizes] == [
            preset.model[field] for field in ("nr_resnets", "nr_filters", "nr_logistic_mix")
        ]


def test_links_between_pages_lead_somewhere() -> None:
    # README.md and docs/results.md are written apart from these pages, and so are not asked for here.
    for page in (*DOCS.glob("*.md"), *DOCS.parent.glob("examples/*.md"), *DOCS.parent.glob("C*.md")):
        for name, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
            target = page.parent / name if name else page
            if "://" in name or target.name in ("README.md", "results.md"):
                continue
            assert target.exists(), f"{page.name} links to {name}"
            assert not anchor or anchor in anchors(target), f"{page.name} links to {name}#{anchor}"


def test_files_that_the_pages_name_exist() -> None:
    rooms = r"tests|docs|model|datasets|runs(?!/NAME)|training|evaluation|sampling|fid|plots|cli"
    root = DOCS.parent
    for page in (*DOCS.glob("*.md"), root / "CONTRIBUTING.md"):
        for name in re.findall(rf"`((?:{rooms})/[\w/.]+)`", page.read_text("utf-8")):
            assert (root / name).exists() or (root / "src/cpixelcnn" / name).exists(), f"{page.name} names {name}"


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
