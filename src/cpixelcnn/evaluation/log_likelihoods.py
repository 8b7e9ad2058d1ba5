"""A file with log p(x | c) of every image under every class: what all scores of a classifier are made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.storage import atomic_path


def save_log_likelihoods(path: Path, log_likelihoods: Tensor, image_set: ImageSet) -> None:
    """Write log-likelihoods (N, C), with what they belong to, to an npz file; an older file is replaced in one step.

    The file holds no pickled objects. Its arrays are `log_likelihoods` (nats, float64 (N, C)), `labels` (int64 (N,), -1
    where the class is not known), `classes` (C names) and `files` (N names, empty where images have no files).

    Args:
        path: of the file; its name is taken as it is.
        log_likelihoods: log p(x | c), float64 (N, C); with several views, their mean.
        image_set: the images, with the model's classes.

    Raises:
        OSError: the file cannot be written.
    """
    files = [""] * len(image_set) if image_set.paths is None else [str(file) for file in image_set.paths]
    arrays = {
        "log_likelihoods": log_likelihoods.numpy(),
        "labels": image_set.labels.numpy(),
        "classes": np.array(image_set.classes, dtype=np.str_),
        "files": np.array(files, dtype=np.str_),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
