"""The images of a training, all read before its first step, so that bad files are found at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpixelcnn.cli import console
from cpixelcnn.errors import BadImagesError, DataError, plural

if TYPE_CHECKING:
    import torch

    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.evaluate import Evaluation
    from cpixelcnn.training.loop import TrainResult
    from cpixelcnn.training.plan import Plan


@dataclass(frozen=True)
class TrainingImages:
    """Its splits; `test` is None where it is not wanted or there is none with labels."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet | None


def read_images(plan: Plan, processes: Processes, *, download: bool, test: bool) -> TrainingImages:
    from cpixelcnn.datasets.registry import load_split

    data = plan.config.data
    with processes.together():
        if download and processes.is_main and not processes.alone:  # what is missing, before the others look for it
            load_split(data, "train", download=True)
    with processes.together(), console.activity("reading images") as progress:
        train_set, validation_set = (
            load_split(data, split, download=download, progress=progress) for split in ("train", "validation")
        )
        test_set = None
        if test:
            try:
                test_set = load_split(data, "test", download=download, progress=progress)
            except BadImagesError:
                raise
            except DataError as error:
                console.warn(f"there will be no test metrics: {error}")
    loaded = [images for images in (train_set, validation_set, test_set) if images is not None]
    for images in loaded:
        for note in images.notes:
            console.info(f"note       {note}")
    skipped = sum(images.nr_skipped for images in loaded)
    if skipped:
        console.warn(f"left out {plural(skipped, 'image')} that cannot be read")
    if validation_set.origin:
        console.info(f"split      {validation_set.origin}")
    labelled = processes.all_gather(test_set is not None and test_set.labelled)
    return TrainingImages(train_set, validation_set, test_set if all(labelled) else None)


def evaluate_held_out(
    result: TrainResult, images: TrainingImages, device: torch.device, processes: Processes
) -> Evaluation | None:
    """The best checkpoint on the test split, which nothing was chosen by; None without labelled test images."""
    from cpixelcnn.evaluation.evaluate import evaluate
    from cpixelcnn.runs.models import load

    if images.test is None:
        return None
    with processes.together():
        model = load(result.run, device=device)
    with console.activity("test split", unit="images", count=len(images.test)) as progress:
        return evaluate(model, images.test, processes=processes, progress=progress)
