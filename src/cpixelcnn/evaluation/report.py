"""An evaluation as one self-contained HTML page: what is on it, and its making.

The page needs no network, no script and no other file: pictures are data URIs.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TEMPLATE = "report.html"


@dataclass(frozen=True)
class Picture:
    """A picture as data URIs.

    Attributes:
        alt: what it shows, for those who do not see it.
        light: the picture.
        dark: the same for dark pages, empty where it is the same.
    """

    alt: str
    light: str
    dark: str = ""

    @classmethod
    def of_pixels(cls, alt: str, pixels: NDArray[np.uint8]) -> Picture:
        """From uint8 (H, W, 3)."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="PNG", optimize=True)
        return cls(alt, _data_uri("image/png", file.getvalue()))

    @classmethod
    def of_svg(cls, alt: str, documents: tuple[str, str]) -> Picture:
        """From SVG documents for light and for dark pages."""
        light, dark = (_data_uri("image/svg+xml", document.encode()) for document in documents)
        return cls(alt, light, dark)


@dataclass(frozen=True)
class Fact:
    """A number with its name, and what to know about it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class ClassRow:
    """One class: cells of the table of classes, and its row of the confusion matrix.

    Attributes:
        name: of the class.
        cells: texts, as many as the table has columns besides the name.
        counts: images of the class that are predicted to be of each class; empty without scores.
    """

    name: str
    cells: tuple[str, ...]
    counts: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        """Images of the class."""
        return sum(self.counts)


@dataclass(frozen=True)
class ReportedMistake:
    """A confident mistake: the image, why the model makes it, and what is to be said of it."""

    pictures: tuple[tuple[str, Picture], ...]
    label: str
    prediction: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Scale:
    """A colour bar: its colours from low to high, and what stands at its ends."""

    colours: Picture
    low: str
    high: str


@dataclass(frozen=True)
class Report:
    """All that is on the page; what is empty is left out.

    Attributes:
        title: of the page.
        subtitle: the data and the number of images.
        made: when and with what it was made.
        facts: the summary.
        class_columns: headings of the table of classes.
        classes: its rows, and the confusion matrix.
        reliability: the reliability diagram.
        mistakes: the most confident mistakes.
        bits: name and picture of each map of bits.
        bits_scale: its colours.
        samples: for each class (or "" of an unconditional model) its samples.
        curves: metrics over the epochs of the run.
        configuration: name and facts of each part of the configuration.
        commands: what was done, and with which command.
    """

    title: str
    subtitle: str
    made: str
    facts: tuple[Fact, ...]
    class_columns: tuple[str, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    reliability: Picture | None = None
    mistakes: tuple[ReportedMistake, ...] = ()
    bits: tuple[tuple[str, Picture], ...] = ()
    bits_scale: Scale | None = None
    samples: tuple[tuple[str, Sequence[Picture]], ...] = ()
    curves: tuple[Picture, ...] = ()
    configuration: tuple[tuple[str, tuple[Fact, ...]], ...] = ()
    commands: tuple[tuple[str, str], ...] = ()


def render_report(report: Report) -> str:
    """The HTML page. All texts are escaped, whatever the names of classes and files are."""
    import jinja2

    loader = jinja2.PackageLoader("cpixelcnn.evaluation", "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE).render(report=report)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
