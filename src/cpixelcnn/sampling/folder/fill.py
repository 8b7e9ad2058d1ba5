"""Filling a folder with samples: batch by batch, so that what is finished stays; shared among processes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cpixelcnn.distributed import Processes
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress, silent
from cpixelcnn.sampling.folder.store import SampleStore
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.sample import BATCH_SIZE, SamplePlan, draw


@dataclass(frozen=True)
class Filled:
    """What it took to fill a folder: images that had to be drawn (by all processes), and this process's seconds."""

    n_drawn: int
    seconds: float


def fill_folder(
    store: SampleStore,
    model: PixelCNN,
    wanted: SamplePlan,
    *,
    options: SamplingOptions,
    marginal: PixelCNN | None = None,
    batch_size: int = BATCH_SIZE,
    processes: Processes | None = None,
    progress: Progress = silent,
) -> Filled:
    """Draw the images of an order that the folder does not hold yet; the arguments are those of `sampling.draw`.

    Every process of several calls this. An image does not depend on the process that draws it, up to the rounding of
    differently sized batches.

    Raises:
        ConfigError: options that do not go together with the models.
        DataError: a file cannot be written; those before it are kept.
    """
    processes = processes or Processes()
    started = time.perf_counter()
    missing = store.missing()
    processes.barrier()  # nobody writes before everybody has looked
    mine = processes.share(missing)
    batches = draw(
        model, wanted.select(mine), options=options, marginal=marginal, batch_size=batch_size, progress=progress
    )
    done = 0
    for images in batches:
        store.write(mine[done : done + len(images)], images)
        done += len(images)
    processes.barrier()
    if processes.is_main:
        store.finish()
    return Filled(len(missing), time.perf_counter() - started)
