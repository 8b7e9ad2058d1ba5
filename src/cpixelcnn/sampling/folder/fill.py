"""Filling a folder with samples, batch by batch, so that what is finished stays; processes divide the images."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cpixelcnn.distributed import Processes
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress, silent
from cpixelcnn.sampling.folder.store import SampleStore
from cpixelcnn.sampling.sample import BATCH_SIZE, draw


@dataclass(frozen=True)
class Filled:
    """What it took to fill a folder.

    Attributes:
        n_drawn: images that had to be drawn, by all processes.
        seconds: of this process.
    """

    n_drawn: int
    seconds: float


def fill_folder(
    store: SampleStore,
    model: PixelCNN,
    *,
    unconditional: PixelCNN | None = None,
    batch_size: int = BATCH_SIZE,
    processes: Processes | None = None,
    progress: Progress = silent,
) -> Filled:
    """Draw the images that the folder does not hold yet; the arguments are those of `sampling.sample.draw`.

    Every process of several calls this. An image does not depend on the process that draws it, up to the rounding of
    differently sized batches.

    Raises:
        ConfigError: a plan for another model, or options that do not go together with the models.
        DataError: a file cannot be written; those before it are kept.
        NonFiniteError: weights that are not finite.
    """
    processes = processes or Processes()
    started = time.perf_counter()
    # Class by class, since a batch of one class takes fewer operations.
    missing = sorted(store.missing(), key=lambda index: store.plan.labels[index])
    processes.barrier()  # nobody writes before everybody has looked
    mine = processes.share(missing)
    batches = draw(
        model, store.plan.select(mine), unconditional=unconditional, batch_size=batch_size, progress=progress
    )
    done = 0
    for images in batches:
        store.write(mine[done : done + len(images)], images)
        done += len(images)
    processes.barrier()
    if processes.is_main:
        store.finish()
    return Filled(len(missing), time.perf_counter() - started)
