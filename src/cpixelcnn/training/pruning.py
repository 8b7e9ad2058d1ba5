"""Which checkpoints of a run are kept: the best, the newest, and where it is asked for those of epochs at intervals."""

from __future__ import annotations

import errno
from pathlib import Path

from cpixelcnn.errors import CheckpointError
from cpixelcnn.runs import layout as runs
from cpixelcnn.runs.pointers import BEST, LAST, pointed
from cpixelcnn.storage import remove
from cpixelcnn.training.state import TrainProgress

_NEWEST = 2  # beside those at intervals: if the newest is damaged, training goes on from the one before it


def prune(run: Path, keep: str, progress: TrainProgress) -> None:
    """Remove checkpoints that are not to be kept, and what killed saves have left.

    Of a checkpoint that was moved elsewhere and is a link here, only the link is removed.

    Args:
        run: the run directory.
        keep: "all", how many of the newest, or "every:N" for the newest two and each N-th epoch; see `TrainConfig`.
        progress: of the training, which knows its best checkpoint; that is kept in any case.

    Raises:
        OSError: a checkpoint cannot be removed.
    """
    for leftover in (run / runs.CHECKPOINTS).glob(".incoming-*"):
        remove(leftover)
    if keep == "all":
        return
    at_intervals, _, number = keep.rpartition(":")
    kept = {runs.checkpoint_name(progress.best_step)}
    kept |= {path.name for path in (pointed(run, BEST), pointed(run, LAST)) if path is not None}
    for checkpoint in runs.checkpoint_paths(run)[: -_NEWEST if at_intervals else -int(number)]:
        if at_intervals and _ends_nth_epoch(checkpoint, int(number), progress.train_images):
            continue
        if checkpoint.name in kept:
            continue
        remove(checkpoint)
        if checkpoint.exists():
            raise OSError(errno.EACCES, "it cannot be removed", str(checkpoint))


def _ends_nth_epoch(checkpoint: Path, n: int, train_images: int) -> bool:
    """Whether a checkpoint was saved at the end of an epoch that `n` divides, not in the middle of the next one."""
    try:
        manifest = runs.read_manifest(checkpoint)
    except CheckpointError:
        return False
    epoch = manifest.get("epoch")
    return isinstance(epoch, int) and epoch % n == 0 and manifest.get("images_seen") == epoch * train_images > 0
