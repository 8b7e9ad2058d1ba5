"""Many images in one file: an npz archive with `arr_0`, uint8 (N, H, W, C), as evaluation suites for images read it.

Pickled objects are never loaded, and an array is read only when its header announces no more than what is expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn import foreign_files
from cpixelcnn.errors import DataError
from cpixelcnn.foreign_files import MissingFileError, UnreadableFileError
from cpixelcnn.storage import atomic_path

ARRAYS = "samples.npz"
SUFFIX = ".npz"
MOST_BYTES = 1 << 34  # of an archive: 80,000 images of 256x256 pixels
LARGEST_EXPANSION = 50  # photographs shrink to a half, drawings to a tenth

Pixels = NDArray[np.uint8]  # (N, H, W, C)

_AGAIN = "delete it, then run the same cpixelcnn sample command again"


def write_arrays(path: Path, images: Tensor, labels: Sequence[int], seeds: Sequence[int]) -> None:
    """Write images uint8 (N, C, H, W) with label and seed of each, atomically; -1 is no label."""
    seed_type = np.uint64 if max(seeds, default=0) > np.iinfo(np.int64).max else np.int64
    arrays = {"arr_0": to_pixels(images), "labels": np.array(labels, np.int64), "seeds": np.array(seeds, seed_type)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path, remedy: str = _AGAIN) -> tuple[Tensor, Tensor | None]:
    """Images uint8 (N, C, H, W) and, where the file has any, labels int64 (N,); -1 is no label.

    Raises:
        DataError: the file cannot be read, or holds no such images or labels; it ends with the remedy.
    """
    try:
        arrays = foreign_files.read_arrays(path, ("arr_0", "labels"), most_bytes=MOST_BYTES, factor=LARGEST_EXPANSION)
    except MissingFileError:
        raise DataError(f"{path} does not exist; run the same cpixelcnn sample command again") from None
    except UnreadableFileError as error:
        raise _damaged(path, error.reason, remedy) from None
    pixels, labels = arrays.get("arr_0"), arrays.get("labels")
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise _damaged(path, f"arr_0 is {_described(pixels)}, not uint8 (N, H, W, 1 or 3)", remedy)
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    if labels is None:
        return images, None
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1] or bool((labels < -1).any()):
        raise _damaged(path, f"labels are {_described(labels)}, not one whole number an image, -1 or more", remedy)
    return images, torch.from_numpy(labels.astype(np.int64))


def to_pixels(images: Tensor) -> Pixels:
    """Images uint8 (N, C, H, W) as uint8 (N, H, W, C)."""
    pixels: Pixels = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def _described(array: NDArray[Any] | None) -> str:
    return "missing" if array is None else f"{array.dtype} {array.shape}"


def _damaged(path: Path, reason: str, remedy: str) -> DataError:
    return DataError(f"{path} is not a sound file of images ({reason}); {remedy}")
