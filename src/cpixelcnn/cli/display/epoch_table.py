"""The epochs of a training as they end: rows of a table, a small table each where that is too wide, or plain lines."""

from __future__ import annotations

from cpixelcnn.runs.metrics_log import EpochRecord

_ROWS_PER_HEADER = 20
_GAP = "  "


class EpochTable:
    """Lines of text for one epoch after the other."""

    def __init__(self, epochs: int, conditional: bool) -> None:
        self.epochs = epochs
        self.columns = [max(5, 2 * len(str(epochs)) + 1), 15, 10]
        self.names = ["epoch", "bits/dim: train", "validation"]
        if conditional:
            self.columns += [8, 13, 8]
            self.names += ["accuracy", "95 % interval", "macro F1"]
        self.rows = 0

    @property
    def width(self) -> int:
        """Columns of the terminal that a row takes."""
        return sum(self.columns) + len(_GAP) * len(self.columns) + len("best")

    def lines(self, record: EpochRecord, is_best: bool, width: int | None) -> list[str]:
        """What to print for an epoch on a terminal of that width, or where there is none."""
        if width is None:
            return [self._sentence(record, is_best)]
        if width < self.width:
            return self._narrow(record, is_best)
        header = [self._row(self.names)] if self.rows % _ROWS_PER_HEADER == 0 else []
        self.rows += 1
        cells = list(self._cells(record).values())
        return [*header, self._row([f"{record.epoch}/{self.epochs}", *cells]) + (f"{_GAP}best" if is_best else "")]

    def _cells(self, record: EpochRecord, between: str = " to ") -> dict[str, str]:
        cells = {"train": _figure(record.train_bpd), "validation": _figure(_validation_bits(record))}
        if "accuracy" in self.names:
            cells |= {
                "accuracy": _percent(record.accuracy),
                "95 %": _interval(record, between) or "-",
                "macro F1": _percent(record.f1_macro),
            }
        return cells

    def _row(self, cells: list[str]) -> str:
        return _GAP.join(cell.rjust(column) for cell, column in zip(cells, self.columns, strict=True))

    def _narrow(self, record: EpochRecord, is_best: bool) -> list[str]:
        cells = {name: cell for name, cell in self._cells(record, "-").items() if cell != "-"}
        title = f"epoch {record.epoch}/{self.epochs}" + (f"{_GAP}best" if is_best else "")
        return [title, *(f"{name:<10} {cell}" for name, cell in cells.items())]

    def _sentence(self, record: EpochRecord, is_best: bool) -> str:
        line = f"epoch {record.epoch}/{self.epochs}  train {_figure(record.train_bpd)}"
        if record.validation_bpd_marginal is not None:
            line += f"  validation {_figure(_validation_bits(record))} bits/dim"
        if record.accuracy is not None:
            line += f"  accuracy {_percent(record.accuracy)} ({_interval(record, '-')})"
        return line + (f"{_GAP}best" if is_best else "")


def _validation_bits(record: EpochRecord) -> float | None:
    return record.validation_bpd_marginal if record.validation_bpd is None else record.validation_bpd


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _interval(record: EpochRecord, between: str) -> str:
    if record.accuracy_low is None or record.accuracy_high is None:
        return ""
    return f"{100 * record.accuracy_low:.1f}{between}{100 * record.accuracy_high:.1f}"
