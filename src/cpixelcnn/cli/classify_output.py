"""Where `cpixelcnn classify` puts its results while they come: lines, one JSON document, CSV files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from cpixelcnn.cli import console
from cpixelcnn.cli.output_files import unwritable
from cpixelcnn.errors import ConfigError, plural

if TYPE_CHECKING:
    from cpixelcnn.evaluation.calibration import Calibration
    from cpixelcnn.evaluation.familiarity import Familiarity
    from cpixelcnn.evaluation.stream import ClassifiedBatch

PARTIAL = ".part"
_WIDEST_CLASS = 24


@dataclass(frozen=True)
class Result:
    """One image with what the model says of it.

    Attributes:
        path: its file.
        index: of its class.
        label: name of its class.
        runner_up: name of the second class, empty where there is only one.
        probabilities: p(c | x) of all classes.
        log_likelihoods: log p(x | c) of all classes.
        bits: bits/dim, over classes.
        unusual: "low" or "high" where 19 of 20 images of the model's own kind have bits/dim that are higher or lower;
            empty for others, None where that is not known, for want of a calibration.
        unfamiliarity: the score that the model's threshold is about, larger for images of other kinds; None without a
            threshold.
        unfamiliar: whether that score is above the threshold; None without one.
    """

    path: Path
    index: int
    label: str
    runner_up: str
    probabilities: list[float]
    log_likelihoods: list[float]
    bits: float
    unusual: str | None
    unfamiliarity: float | None = None
    unfamiliar: bool | None = None


class Sink(Protocol):
    """What takes results, batch after batch; nothing that it has taken is lost when the work is interrupted."""

    def __call__(self, results: Sequence[Result]) -> None: ...


def results_of(
    batch: ClassifiedBatch,
    classes: Sequence[str],
    calibration: Calibration | None,
    familiarity: Familiarity | None = None,
) -> list[Result]:
    """The results of a batch, image by image."""
    found = batch.classification
    unfamiliarity: list[float | None] = [None] * len(batch.paths)
    unfamiliar: list[bool | None] = [None] * len(batch.paths)
    if familiarity is not None:
        scores = familiarity.scores(batch.bits.numpy(), batch.source.images)
        unfamiliarity, unfamiliar = scores.tolist(), familiarity.unfamiliar(scores).tolist()
    ranks = found.log_posteriors.argsort(dim=1, descending=True, stable=True)
    rows = zip(
        batch.paths,
        found.predictions.tolist(),
        ranks.tolist(),
        found.probabilities.tolist(),
        found.log_likelihoods.tolist(),
        batch.bits.tolist(),
        unfamiliarity,
        unfamiliar,
        strict=True,
    )
    return [
        Result(
            path=path,
            index=index,
            label=classes[index],
            runner_up=next((classes[other] for other in ranking if other != index), ""),
            probabilities=probabilities,
            log_likelihoods=log_likelihoods,
            bits=bits,
            unusual=_unusual(bits, calibration),
            unfamiliarity=unfamiliarity,
            unfamiliar=unfamiliar,
        )
        for path, index, ranking, probabilities, log_likelihoods, bits, unfamiliarity, unfamiliar in rows
    ]


def _unusual(bits: float, calibration: Calibration | None) -> str | None:
    if calibration is None:
        return None
    return "low" if bits < calibration.bpd_low else "high" if bits > calibration.bpd_high else ""


class Lines:
    """A line for each image on stdout, the file last, since its name may be long."""

    def __init__(self, classes: Sequence[str], *, unfamiliar: bool = False) -> None:
        """Args: the model's classes, and whether a threshold tells which images are unfamiliar."""
        self.unfamiliar = unfamiliar
        self.width = min(max(map(len, ("runner-up", *classes))), _WIDEST_CLASS)
        self.begun = False

    def __call__(self, results: Sequence[Result]) -> None:
        from rich.text import Text

        lines = [self._line("class", "probability", "runner-up", "bits/dim", "unfamiliar", "image")] * (not self.begun)
        self.begun = True
        for each in results:
            probability, bits = f"{each.probabilities[each.index]:.4f}", f"{each.bits:.3f} {each.unusual or ''}"
            strange = "yes" if each.unfamiliar else ""
            lines.append(self._line(each.label, probability, each.runner_up, bits, strange, str(each.path)))
        console.print_result(Text("\n".join(lines)))
        console.flush()

    def _line(self, label: str, probability: str, runner_up: str, bits: str, unfamiliar: str, path: str) -> str:
        label, runner_up = (f"{_shortened(name, self.width):{self.width}}" for name in (label, runner_up))
        strange = f"{unfamiliar:10}  " if self.unfamiliar else ""
        return f"{label}  {probability:>11}  {runner_up}  {bits:10}  {strange}{' '.join(path.splitlines())}"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def json_results(results: Sequence[Result]) -> None:
    """Elements of the array `results` of the JSON document."""
    console.add_json(_document(each) for each in results)


def _document(result: Result) -> dict[str, Any]:
    document = {
        "path": str(result.path),
        "label": result.label,
        "index": result.index,
        "probability": result.probabilities[result.index],
        "probabilities": result.probabilities,
        "log_likelihoods": result.log_likelihoods,
        "bpd": result.bits,
    }
    if result.unusual is not None:
        document["unusual"] = result.unusual or None
    if result.unfamiliar is not None:
        document |= {"unfamiliar": result.unfamiliar, "unfamiliarity": result.unfamiliarity}
    return document


@contextmanager
def csv_file(path: Path, flag: str, classes: Sequence[str], *, unfamiliar: bool = False) -> Iterator[Sink]:
    """A table with a header and a row for each image, see `_rows`; two columns more where there is a threshold."""
    header = ["path", "label", "index", "probability", "bits_per_dim", *(f"p({name})" for name in classes)]
    with _rows(path, flag, header + ["unfamiliar", "unfamiliarity"] * unfamiliar) as write:

        def row(r: Result) -> list[object]:
            strange = [int(bool(r.unfamiliar)), r.unfamiliarity] * unfamiliar
            return [str(r.path), r.label, r.index, r.probabilities[r.index], r.bits, *r.probabilities, *strange]

        def sink(results: Sequence[Result]) -> None:
            write(row(result) for result in results)

        yield sink


@contextmanager
def submission_file(path: Path, flag: str, numbers: Sequence[int]) -> Iterator[Sink]:
    """The layout of cpen455's own lists, `FOLDER/FILE,NUMBER OF THE CLASS` without a header, see `_rows`.

    Args:
        path: of the file.
        flag: the option that named it.
        numbers: the course's number of each class of the model.
    """
    with _rows(path, flag, None) as write:

        def sink(results: Sequence[Result]) -> None:
            write([f"{r.path.absolute().parent.name}/{r.path.name}", numbers[r.index]] for r in results)

        yield sink


def course_numbers(classes: Sequence[str]) -> list[int]:
    """Numbers of a model's classes in cpen455, found by name.

    Raises:
        ConfigError: the model has a class that cpen455 has not.
    """
    from cpixelcnn.datasets.cpen455 import CLASSES
    from cpixelcnn.datasets.image_set import find_class

    numbers = [find_class(name, CLASSES) for name in classes]
    unknown = [name for name, number in zip(classes, numbers, strict=True) if number is None]
    if unknown:
        raise ConfigError(
            f"--submission is for the classes of cpen455 ({', '.join(CLASSES)}), but the model has "
            f"{', '.join(unknown)}; use --csv"
        )
    return [number for number in numbers if number is not None]


@contextmanager
def _rows(
    path: Path, flag: str, header: Sequence[str] | None
) -> Iterator[Callable[[Iterator[Sequence[object]]], None]]:
    """Write a CSV file row by row beside `path`, where it takes its place when all are written.

    What was written before an interruption stays in PATH.part; an older file of that name stays as it is until then.
    Where PATH is there and no regular file (a pipe, a terminal), it is written to directly.
    """
    regular = not path.exists() or path.is_file()
    partial = path.with_name(path.name + PARTIAL) if regular else path
    nr_rows = 0
    try:
        file = partial.open("w", encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise ConfigError(f"{flag} {path} cannot be written ({error.strerror}); choose another place") from None
    try:
        with file:
            if header:
                _write_rows(file, [header])

            def write(rows: Iterator[Sequence[object]]) -> None:
                nonlocal nr_rows
                taken = list(rows)
                _write_rows(file, taken)
                nr_rows += len(taken)

            yield write
    except BaseException:
        if regular:
            console.info(f"{plural(nr_rows, 'row')} written so far: {partial}")
        raise
    if regular:
        with unwritable(path, flag):
            os.replace(partial, path)
        console.info(f"written    {path} ({plural(nr_rows, 'row')})")


def _write_rows(file: TextIO, rows: Sequence[Sequence[object]]) -> None:
    """Whole rows in one piece, so that an interruption leaves no half of one."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    file.write(text.getvalue())
    file.flush()
