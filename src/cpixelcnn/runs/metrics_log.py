"""The figures of each epoch, as JSON lines for programs and as CSV for spreadsheets: without gap or duplicate."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cpixelcnn.errors import CheckpointError
from cpixelcnn.storage import write_text

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a training. Figures of the validation are None in epochs without one (accuracy: without classes).

    Bits/dim are means over the images; accuracy has its 95 % Wilson interval; `nll_posterior` is the mean of -log p(c
    | x).
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


def read_records(path: Path) -> list[EpochRecord]:
    """The records of a `metrics.jsonl`; none where there is no such file.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.is_file():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [EpochRecord(**row) for row in rows]
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); repair or move it away") from None


class MetricsLog:
    """`metrics.jsonl` and `metrics.csv` of a run; both are rewritten as a whole, since they are small."""

    def __init__(self, run: Path, upto_epoch: int) -> None:
        """Read the records of a run that is resumed after `upto_epoch` epochs; later ones are dropped."""
        self.run = run
        self.records = [record for record in read_records(run / METRICS) if record.epoch <= upto_epoch]

    def append(self, record: EpochRecord) -> None:
        """Add one epoch and write both files."""
        self.records.append(record)
        rows = [asdict(record) for record in self.records]
        write_text(self.run / METRICS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
        table = io.StringIO()
        writer = csv.DictWriter(table, [f.name for f in fields(EpochRecord)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.run / "metrics.csv", table.getvalue())
