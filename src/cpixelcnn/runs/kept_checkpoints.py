"""The checkpoints that a run has kept, and what each of them scores, as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cpixelcnn.errors import CheckpointError
from cpixelcnn.runs.layout import CHECKPOINTS, RUNS, checkpoint_paths, read_manifest
from cpixelcnn.runs.models import newest_run, weights_in
from cpixelcnn.storage import write_text


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint that can be scored.

    Attributes:
        weights: its weight file.
        epoch: epochs that were complete.
        step: steps that were taken.
        images_seen: images that were trained on, each time anew.
    """

    weights: Path
    epoch: int
    step: int
    images_seen: int


@dataclass(frozen=True)
class CheckpointScores:
    """What one checkpoint scores. None is what there is not: accuracy without labels or classes, an unasked distance.

    Attributes:
        epoch, step, images_seen: of the checkpoint.
        n_images: images that were scored.
        accuracy: fraction of them that are classified right, with its 95 % Wilson interval.
        f1_macro: mean over classes of F1.
        nll_posterior: mean -log p(true class | x) in nats.
        bpd: mean bits/dim given the class.
        bpd_marginal: mean bits/dim over classes.
        bpd_stderr: standard error of `bpd` (of `bpd_marginal` where that is None).
        distance: Frechet distance of samples from the images.
        distance_name: "FID", or the feature network whose distance is none.
    """

    epoch: int
    step: int
    images_seen: int
    n_images: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    f1_macro: float | None
    nll_posterior: float | None
    bpd: float | None
    bpd_marginal: float
    bpd_stderr: float
    distance: float | None = None
    distance_name: str | None = None


def find_run(reference: str | Path | None) -> Path:
    """A run directory by its path or its name under runs/; the newest run unless given.

    Raises:
        CheckpointError: there is no such run.
    """
    if reference is None:
        if (newest := newest_run()) is None:
            raise CheckpointError("there is no run under runs/; name one")
        return newest
    for path in (Path(reference), RUNS / reference):
        if (path / CHECKPOINTS).is_dir():
            return path
    raise CheckpointError(f"{reference} is no run directory (with {CHECKPOINTS}/ in it); name the directory of a run")


def kept_checkpoints(run: Path, *, ema: bool = True) -> tuple[list[KeptCheckpoint], list[str]]:
    """The checkpoints of a run, oldest first, and a sentence for each that is damaged.

    Args:
        run: the run directory.
        ema: the moving average of the weights rather than the weights themselves.

    Raises:
        CheckpointError: none is undamaged.
    """
    found, damaged = [], []
    for path in checkpoint_paths(run):
        try:
            manifest = read_manifest(path)
            epoch, step, seen = (manifest.get(name) for name in ("epoch", "step", "images_seen"))
            if not (isinstance(epoch, int) and isinstance(step, int) and isinstance(seen, int)):
                raise CheckpointError(f"{path} does not tell its epoch; it is damaged")
            found.append(KeptCheckpoint(weights_in(path, ema), epoch, step, seen))
        except CheckpointError as error:
            damaged.append(str(error))
    if not found:
        raise CheckpointError(f"{run} holds no usable checkpoint" + "".join(f"; {sentence}" for sentence in damaged))
    return found, damaged


def write_checkpoint_scores(path: Path, scores: Iterable[CheckpointScores]) -> None:
    """Write a CSV file with a header and a row for each checkpoint, replacing an older one in one step.

    Raises:
        OSError: it cannot be written.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, [field.name for field in fields(CheckpointScores)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(each) for each in scores)
    write_text(path, table.getvalue())
