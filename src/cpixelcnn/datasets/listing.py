"""What a loader is asked for, and image files with their labels before any of them is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.reading import animation_note, read_images
from cpixelcnn.errors import BadImagesError, DataError
from cpixelcnn.progress import Progress, silent


@dataclass(frozen=True)
class SplitRequest:
    """One split of one data set, as a loader is asked for it.

    Attributes:
        config: which data set, how missing splits are held out, whether bad files are skipped.
        split: "train", "validation" or "test".
        directory: where the data set lies.
        channels: 3 (RGB) or 1 (grey).
        size: height and width of the images.
        download: whether missing files may be fetched.
        progress: called after every image.
    """

    config: DataConfig
    split: str
    directory: Path
    channels: int
    size: int
    download: bool = False
    progress: Progress = silent


@dataclass(frozen=True)
class Listing:
    """Files and labels of one split.

    Attributes:
        paths: N files.
        labels: int64 (N,), -1 where the class is not known.
        classes: names of the classes.
        origin: one sentence on where the split comes from.
    """

    paths: tuple[Path, ...]
    labels: Tensor
    classes: tuple[str, ...]
    origin: str

    def select(self, indices: Tensor, origin: str) -> Listing:
        """The files at these indices, as a split of another origin."""
        paths = tuple(self.paths[i] for i in indices.tolist())
        return Listing(paths, self.labels[indices], self.classes, origin)

    def read(self, request: SplitRequest) -> ImageSet:
        """Read the files.

        Raises:
            BadImagesError: some cannot be used and are not to be skipped, or none can be used at all.
            DataError: there are none.
        """
        name = request.config.dataset
        if not self.paths:
            raise DataError(f"the {request.split} split of {name} in {request.directory} has no images; add some")
        result = read_images(
            self.paths,
            channels=request.channels,
            height=request.size,
            width=request.size,
            skip_bad=request.config.skip_bad,
            progress=request.progress,
        )
        if not result.kept:
            raise BadImagesError(result.failures, "there is no other in this split, so repair them or check `data_dir`")
        note = animation_note(result.animated)
        return ImageSet(
            images=result.images,
            labels=self.labels[torch.tensor(result.kept)],
            classes=self.classes,
            name=name,
            split=request.split,
            paths=tuple(self.paths[i] for i in result.kept),
            origin=self.origin,
            nr_skipped=len(result.failures),
            notes=(note,) if note else (),
        )
