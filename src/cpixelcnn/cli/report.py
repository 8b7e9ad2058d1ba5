"""`cpixelcnn eval --report FILE.html`: from what was found to what stands on the page."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cpixelcnn.cli import console
from cpixelcnn.cli.findings import Findings
from cpixelcnn.cli.output_files import writing
from cpixelcnn.errors import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cpixelcnn.config import DataConfig
    from cpixelcnn.evaluation.report import ClassRow, Fact, Picture, Report, ReportedMistake, Scale

_MOST_SAMPLES, _MOST_OF_A_CLASS = 32, 6
_LONGEST_VALUE = 200


def save_report(path: Path, findings: Findings, data: DataConfig | None) -> None:
    """Write the page to the file that `--report` names."""
    from cpixelcnn.evaluation.report import render_report
    from cpixelcnn.storage import write_text

    page = render_report(report_of(findings, data))
    with writing(path, "--report"):
        write_text(path, page)


def report_of(findings: Findings, data: DataConfig | None) -> Report:
    """What stands on the page.

    Args:
        findings: what was found.
        data: how the images were read, where that is known.
    """
    from cpixelcnn.evaluation.report import Report
    from cpixelcnn.runs.models import model_name

    scores = findings.evaluation.scores
    bits, scale = _bits(findings)
    return Report(
        title=f"Evaluation of {model_name(findings.loaded.path)}",
        subtitle=f"{findings.about.partition(': ')[2]}, {plural(len(findings.images), 'image')}",
        made=_made(findings),
        facts=tuple(_facts(findings)),
        class_columns=("images", "precision", "recall", "bits/dim") if scores else (),
        classes=tuple(_classes(findings)) if scores else (),
        reliability=_reliability(findings) if scores else None,
        mistakes=tuple(_mistakes(findings)),
        bits=bits,
        bits_scale=scale,
        samples=tuple(_samples(findings)),
        curves=tuple(_curves(findings)),
        configuration=tuple(_configuration(findings, data)),
        commands=(("Command", shlex.join(["cpixelcnn", *sys.argv[1:]])),),
    )


def _made(findings: Findings) -> str:
    import torch

    from cpixelcnn import __version__

    today, device = datetime.date.today().isoformat(), findings.loaded.device.type
    return f"Made on {today} with cpixelcnn {__version__} and torch {torch.__version__} (device: {device})"


def _facts(findings: Findings) -> Iterator[Fact]:
    from cpixelcnn.evaluation.report import Fact

    scores, density, with_it = findings.evaluation.scores, findings.evaluation.density, findings.calibrated
    if scores is not None:
        low, high = scores.accuracy_ci95
        right = int(scores.confusion.diagonal().sum())
        yield Fact(
            "Accuracy",
            f"{100 * scores.accuracy:.1f} %",
            f"95 % interval {100 * low:.1f} to {100 * high:.1f}; {right} of {scores.n_images} images; "
            f"guessing: {100 / len(findings.classes):.1f} %",
        )
        yield Fact("Macro F1", f"{100 * scores.f1_macro:.1f} %", "mean over classes")
        nll = [_nats(scores.nll_posterior), f"{_nats(with_it.scores.nll_posterior)} {with_it.note}" if with_it else ""]
        yield Fact("Posterior NLL", *nll)
        after = f"{100 * with_it.scores.ece:.1f} % with the temperature" if with_it else ""
        yield Fact("Calibration error (ECE)", f"{100 * scores.ece:.1f} %", after)
        yield Fact(
            "Brier score", f"{scores.brier:.3f}", f"{with_it.scores.brier:.3f} with the temperature" if with_it else ""
        )
    error = f"standard error {density.stderr:.4f}"
    if density.bpd is not None:
        yield Fact("Bits/dim, class given", f"{density.bpd:.4f}", error)
    gap = "" if density.gap is None else f"what the class tells: {density.gap:.5f}"
    yield Fact("Bits/dim, marginal", f"{density.bpd_marginal:.4f}", gap or error)


def _nats(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.3f} nats"


def _classes(findings: Findings) -> Iterator[ClassRow]:
    from cpixelcnn.evaluation.report import ClassRow

    scores, per_class = findings.evaluation.scores, findings.evaluation.density.per_class
    assert scores is not None
    for label, (name, counts) in enumerate(zip(findings.classes, scores.confusion.tolist(), strict=True)):
        bits = per_class[label] if per_class else None
        cells = (
            str(sum(counts)),
            f"{100 * scores.precision[label]:.1f} %",
            f"{100 * scores.recall[label]:.1f} %",
            "-" if bits is None else f"{bits:.4f}",
        )
        yield ClassRow(name, cells, tuple(counts))


def _reliability(findings: Findings) -> Picture:
    from cpixelcnn.evaluation.report import Picture
    from cpixelcnn.plots.figures import svg_documents
    from cpixelcnn.plots.scores import draw_reliability

    points = {
        name: ", ".join(f"{each.confidence:.2f}: {each.accuracy:.2f}" for each in bins)
        for name, bins in findings.reliability.items()
    }
    told = "; ".join(f"{name}: {values}" for name, values in points.items())
    return Picture.of_svg(f"Accuracy over confidence. {told}", svg_documents(draw_reliability(findings.reliability)))


def _mistakes(findings: Findings) -> Iterator[ReportedMistake]:
    from cpixelcnn.evaluation.report import Picture, ReportedMistake
    from cpixelcnn.plots.figures import as_shown
    from cpixelcnn.plots.maps import BLOCK, evidence_pixels

    classes = findings.classes
    for mistake, evidence in zip(findings.mistakes, findings.evidence, strict=True):
        label, prediction = classes[mistake.label], classes[mistake.prediction]
        image = as_shown(findings.images.images[mistake.index])
        map_of = f"Evidence for {prediction} against {label}"
        pictures = (
            ("image", Picture.of_pixels(f"An image of {label}", image)),
            ("evidence", Picture.of_pixels(f"{map_of}, pixel by pixel", evidence_pixels(evidence))),
            (f"{BLOCK} x {BLOCK} sums", Picture.of_pixels(f"{map_of}, in blocks", evidence_pixels(evidence, BLOCK))),
        )
        facts = (
            findings.told_probability(mistake),
            f"{float(evidence.sum()):+.1f} nats",
            findings.file_name(mistake.index),
        )
        yield ReportedMistake(pictures, label, prediction, facts)


def _bits(findings: Findings) -> tuple[tuple[tuple[str, Picture], ...], Scale]:
    import torch

    from cpixelcnn.evaluation.report import Picture, Scale
    from cpixelcnn.plots.maps import bits_limits, bits_pixels, channel_panels

    low, high = bits_limits(findings.bits.bits)
    maps = tuple(
        (
            f"{name or 'grey'}: {float(panel.mean()):.3f}",
            Picture.of_pixels(f"Bits per dimension, {name or 'grey'}", bits_pixels(panel, low, high)),
        )
        for name, panel in channel_panels(findings.bits.bits)
    )
    bar = bits_pixels(torch.linspace(0, 1, 64)[None], 0, 1)
    return maps, Scale(Picture.of_pixels("Colours from few to many bits", bar), f"{low:.1f}", f"{high:.1f} or more")


def _samples(findings: Findings) -> Iterator[tuple[str, Sequence[Picture]]]:
    """A few images of each class, drawn from the model."""
    import torch

    from cpixelcnn.evaluation.report import Picture
    from cpixelcnn.plots.figures import as_shown
    from cpixelcnn.sampling.sample import sample

    config = findings.loaded.config.model
    classes = (config.classes if config.conditional else ("",))[:_MOST_SAMPLES]
    count = min(_MOST_OF_A_CLASS, _MOST_SAMPLES // len(classes))
    labels = torch.arange(len(classes)).repeat_interleave(count)
    with console.activity("samples") as progress:
        drawn = sample(findings.loaded.model, labels, progress=progress)
    for row, name in enumerate(classes):
        images = drawn.images[row * count : (row + 1) * count]
        alt = f"A sample of {name}" if name else "A sample"
        yield name, [Picture.of_pixels(alt, as_shown(image)) for image in images]


def _curves(findings: Findings) -> Iterator[Picture]:
    from cpixelcnn.evaluation.report import Picture
    from cpixelcnn.plots.curves import draw_panels
    from cpixelcnn.plots.figures import svg_documents

    for figure in draw_panels(findings.records, nr_classes=len(findings.classes)):
        yield Picture.of_svg(f"{figure.axes[0].get_title()}, over the epochs of the training", svg_documents(figure))


def _configuration(findings: Findings, data: DataConfig | None) -> Iterator[tuple[str, tuple[Fact, ...]]]:
    from cpixelcnn.evaluation.report import Fact

    config = findings.loaded.config
    parts = [("Model", config.model), ("Data", data), ("Training", config.train)]
    for name, part in parts:
        if part is not None:
            values = dataclasses.asdict(part)
            yield name, tuple(Fact(field.replace("_", " "), _shown(value)) for field, value in values.items())


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else "-" if value is None else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
