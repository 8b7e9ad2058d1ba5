"""The HTML page: complete, self-contained, well-formed, and safe whatever the names are."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cpixelcnn.evaluation.report import ClassRow, Fact, Picture, Report, ReportedMistake, Scale, render_report

HOSTILE = '<script>alert("1")</script>\'"&{{ 7 * 7 }}'
VOID = {"meta", "img", "source", "link", "br"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def full(name: str = "panda", nr_classes: int = 3) -> Report:
    """A report with everything on it, about classes of this name."""
    picture = Picture.of_pixels(f"An image of {name}", PIXELS)
    drawing = Picture.of_svg(f"Curves of {name}", ('<svg xmlns="http://www.w3.org/2000/svg"/>', "<svg/>"))
    counts = tuple(range(nr_classes))
    mistake = ReportedMistake((("image", picture), ("evidence", picture)), name, name, ("p = 1.0000", f"{name}.png"))
    return Report(
        title=f"Evaluation of {name}",
        subtitle=name,
        made="today",
        facts=(Fact("Accuracy", "91.2 %", name), Fact(name, "1")),
        class_columns=("images", "recall"),
        classes=tuple(ClassRow(f"{name} {i}", ("10", "5 %"), counts) for i in range(nr_classes)),
        reliability=drawing,
        mistakes=(mistake,) * 5,
        bits=((name, picture),) * 4,
        bits_scale=Scale(picture, "1.0", "7.0"),
        samples=((name, [picture] * 6),) * 3,
        curves=(drawing, drawing),
        configuration=(("Model", (Fact("nr filters", "40"), Fact(name, name * 9))),),
        commands=(("Command", f"cpixelcnn eval --model '{name}'"),),
    )


class Checker(HTMLParser):
    """Collects tags, and insists that they are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("report", [full(), Report("a", "b", "c", (Fact("d", "e"),))], ids=["full", "least"])
def test_the_page_is_well_formed_and_accessible(report: Report) -> None:
    page = Checker(render_report(report))
    assert page.named("html") == [{"lang": "en"}]
    for tag in ("title", "h1", "main", "header", "footer", "nav"):
        assert len(page.named(tag)) == 1, tag
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named("meta")
    assert all(image["alt"] for image in page.named("img"))
    assert all(cell["scope"] in ("row", "col") for cell in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table"))
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {str(link["href"]).removeprefix("#") for link in page.named("a")} <= targets
    assert all(section["aria-labelledby"] in targets for section in page.named("section"))


def test_the_page_needs_nothing_else() -> None:
    text = render_report(full())
    page = Checker(text)
    assert not page.named("script")
    assert not page.named("link")
    assert all(str(image["src"]).startswith("data:image/") for image in page.named("img"))
    assert all(str(source["srcset"]).startswith("data:image/") for source in page.named("source"))
    assert not re.findall(r"(?:https?:)?//[a-z]|url\(|@import", re.sub(r"data:[^\"]*", "", text))
    policy = next(meta["content"] for meta in page.named("meta") if "http-equiv" in meta)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for wanted in ("prefers-color-scheme: dark", "@media print"):
        assert wanted in text


def test_no_name_becomes_part_of_the_page() -> None:
    hostile, harmless = (Checker(render_report(full(name))) for name in (HOSTILE, "panda"))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    assert [set(attributes) for _, attributes in hostile.tags] == [set(attributes) for _, attributes in harmless.tags]
    assert "49" not in render_report(full("{{ 7 * 7 }}"))


def test_all_that_was_found_is_on_the_page() -> None:
    report = full()
    text = render_report(report)
    for shown in ("91.2\u00a0%", "panda 2", "p = 1.0000", "nr filters", "cpixelcnn eval --model &#39;panda&#39;"):
        assert shown in text
    assert text.count("data:image/png") == 5 * 2 + 4 + 1 + 3 * 6
    assert text.count("data:image/svg+xml") == 2 * 3


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(tmp_path: Path, width: int) -> None:
    """Asked of a browser, of a page whose names cannot be broken at spaces."""
    page = render_report(full("x" * 60, nr_classes=12))
    page = (
        re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
        .replace("&", "&amp;")
        .replace('"', "&quot;")
    )
    script = (
        "f => document.title = f.contentDocument.documentElement.scrollWidth + ' ' + f.contentDocument.images.length"
    )
    (tmp_path / "frame.html").write_text(
        f'<html><body><iframe style="width:{width}px;height:900px;border:0" onload="({script})(this)" srcdoc="{page}">'
    )
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    arguments = [*options, "--virtual-time-budget=5000", "--window-size=1400,1000", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *arguments, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=100
    )
    found = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert found is not None, done.stderr
    assert int(found[1]) <= width
    assert int(found[2]) == 5 * 2 + 4 + 1 + 3 * 6 + 3
