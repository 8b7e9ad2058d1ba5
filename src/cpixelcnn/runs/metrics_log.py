"""The figures of each epoch, as JSON lines for programs and as CSV for spreadsheets: without gap or duplicate."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cpixelcnn.foreign_files import LOG_BYTES, MissingFileError, UnreadableFileError, parse_json, read_bytes
from cpixelcnn.storage import write_text
from cpixelcnn.typed_json import FieldError, fields_from_json

METRICS = "metrics.jsonl"
DAMAGED = "metrics.damaged.jsonl"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a training. Figures of the validation are None in epochs without one (accuracy: without classes).

    Bits/dim are means over the images; accuracy has its 95 % Wilson interval; `nll_posterior` is the mean of -log p(c
    | x). `clipped` is the fraction of the images whose step had a gradient longer than `clip_grad_norm`; None in lines
    of earlier versions.
    """

    epoch: int
    step: int
    images_seen: int
    train_bpd: float | None
    lr: float
    grad_norm: float | None
    images_per_second: float | None
    bad_steps: int
    seconds: float
    validation_images: int | None = None
    validation_bpd: float | None = None
    validation_bpd_marginal: float | None = None
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    f1_macro: float | None = None
    nll_posterior: float | None = None
    clipped: float | None = None


def read_records(path: Path) -> tuple[list[EpochRecord], int]:
    """The records of a `metrics.jsonl`, and how many of its lines are damaged; none where there is no such file.

    A file that cannot be read at all counts as one damaged line.
    """
    try:
        lines = read_bytes(path, LOG_BYTES).split(b"\n")
    except MissingFileError:
        return [], 0
    except UnreadableFileError:
        return [], 1
    records, damaged = [], 0
    for line in lines:
        if line.strip():
            try:
                records.append(EpochRecord(**fields_from_json(EpochRecord, parse_json(line, path))))
            except (UnreadableFileError, FieldError):
                damaged += 1
    return records, damaged


class MetricsLog:
    """`metrics.jsonl` and `metrics.csv` of a run; both are rewritten as a whole, since they are small.

    Attributes:
        run: the run directory.
        records: of the epochs so far.
        damaged: how many lines could not be read. Their file is kept as `DAMAGED` when it is written again.
    """

    def __init__(self, run: Path, upto_epoch: int) -> None:
        """Read the records of a run that is resumed after `upto_epoch` epochs; later ones are dropped."""
        self.run = run
        records, self.damaged = read_records(run / METRICS)
        self.records = [record for record in records if record.epoch <= upto_epoch]

    def append(self, record: EpochRecord) -> None:
        """Add one epoch and write both files."""
        self.records.append(record)
        if self.damaged:
            os.replace(self.run / METRICS, self.run / DAMAGED)
            self.damaged = 0
        rows = [asdict(record) for record in self.records]
        write_text(self.run / METRICS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
        table = io.StringIO()
        writer = csv.DictWriter(table, [f.name for f in fields(EpochRecord)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.run / "metrics.csv", table.getvalue())
