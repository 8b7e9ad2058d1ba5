"""What a loader is asked for: one split of one data set, read in one way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cpixelcnn.config import DataConfig
from cpixelcnn.progress import Progress, silent

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitRequest:
    """One split of one data set.

    Attributes:
        config: which data set, how splits are drawn, whether bad files are skipped.
        split: "train", "validation" or "test".
        directory: where the data set lies.
        channels: 3 (RGB) or 1 (grey).
        size: height and width of the images wanted.
        download: whether missing files may be fetched.
        progress: told of every image.
    """

    config: DataConfig
    split: str
    directory: Path
    channels: int
    size: int
    download: bool = False
    progress: Progress = silent
