"""Many images in one file: an npz archive with `arr_0`, uint8 (N, H, W, C), as evaluation suites for images read it.

As long as images are being drawn they lie in parts beside it, hidden files ``.part-FIRST-COUNT.npz`` of the same layout
that carry the `indices` of their images. Pickled objects are never loaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.errors import DataError
from cpixelcnn.storage import atomic_path

ARRAYS = "samples.npz"
SUFFIX = ".npz"

Pixels = NDArray[np.uint8]  # (N, H, W, C)

_PART = re.compile(r"\.part-\d+-\d+\.npz")
_AGAIN = "delete it, then run the same cpixelcnn sample command again"


def write_arrays(path: Path, pixels: Pixels, labels: Sequence[int], seeds: Sequence[int]) -> None:
    """Write images uint8 (N, H, W, C) with label and seed of each, atomically; -1 is no label."""
    seed_type = np.uint64 if max(seeds, default=0) > np.iinfo(np.int64).max else np.int64
    _write(path, pixels, labels=np.array(labels, np.int64), seeds=np.array(seeds, seed_type))


def read_arrays(path: Path, remedy: str = _AGAIN) -> tuple[Tensor, Tensor | None]:
    """Images uint8 (N, C, H, W) and, where the file has any, labels int64 (N,); -1 is no label.

    Raises:
        DataError: the file cannot be read, or holds no such images or labels; it ends with the remedy.
    """
    arrays = _read(path, remedy, "arr_0", "labels")
    pixels, labels = arrays["arr_0"], arrays.get("labels")
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise _damaged(path, f"arr_0 is {_described(pixels)}, not uint8 (N, H, W, 1 or 3)", remedy)
    if labels is None:
        return to_images(pixels), None
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1] or bool((labels < -1).any()):
        raise _damaged(path, f"labels are {_described(labels)}, not one whole number an image, -1 or more", remedy)
    return to_images(pixels), torch.from_numpy(labels.astype(np.int64))


def write_part(folder: Path, indices: Sequence[int], images: Tensor) -> None:
    """Write images uint8 (n, C, H, W) and which of all the images they are as a part, atomically."""
    path = folder / f".part-{indices[0]}-{len(indices)}{SUFFIX}"
    _write(path, to_pixels(images), indices=np.array(indices, np.int64))


def part_paths(folder: Path) -> list[Path]:
    """The parts in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if is_part(path.name))


def is_part(name: str) -> bool:
    """Whether a file of this name is a part."""
    return _PART.fullmatch(name) is not None


def part_indices(folder: Path) -> set[int]:
    """Which images lie in the parts of a folder.

    Raises:
        DataError: a part is damaged.
    """
    return {int(index) for path in part_paths(folder) for index in _indices(path, _read(path, _AGAIN, "indices"))}


def read_parts(folder: Path, shape: tuple[int, int, int, int]) -> Pixels:
    """The images of all parts in their places, uint8 of this shape (N, H, W, C); zeros where there is none.

    Raises:
        DataError: a part is damaged.
    """
    pixels = np.zeros(shape, np.uint8)
    for path in part_paths(folder):
        arrays = _read(path, _AGAIN, "indices", "arr_0")
        indices, part = _indices(path, arrays), arrays["arr_0"]
        if part is None or part.dtype != np.uint8 or part.shape != (len(indices), *shape[1:]):
            raise _damaged(path, f"arr_0 is {_described(part)}", _AGAIN)
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(pixels):
            raise _damaged(path, "it numbers images that do not exist", _AGAIN)
        pixels[indices] = part
    return pixels


def to_pixels(images: Tensor) -> Pixels:
    """Images uint8 (N, C, H, W) as uint8 (N, H, W, C)."""
    pixels: Pixels = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def to_images(pixels: Pixels) -> Tensor:
    """The inverse of `to_pixels`."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def _write(path: Path, pixels: Pixels, **others: NDArray[Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, arr_0=pixels, **others)


def _read(path: Path, remedy: str, *names: str) -> dict[str, NDArray[Any] | None]:
    """These arrays of an archive, None for those that it lacks; only they are read."""
    try:
        # numpy leaves a file that it opened itself open when it is damaged
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) if name in archive.files else None for name in names}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; run the same cpixelcnn sample command again") from None
    except Exception as error:  # numpy, zipfile and zlib raise whatever they like on a damaged or hostile file
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        raise _damaged(path, reason, remedy) from None


def _indices(path: Path, arrays: dict[str, NDArray[Any] | None]) -> NDArray[np.int64]:
    indices = arrays["indices"]
    if indices is None or indices.dtype != np.int64 or indices.ndim != 1:
        raise _damaged(path, f"indices are {_described(indices)}", _AGAIN)
    return indices


def _described(array: NDArray[Any] | None) -> str:
    return "missing" if array is None else f"{array.dtype} {array.shape}"


def _damaged(path: Path, reason: str, remedy: str) -> DataError:
    return DataError(f"{path} is not a sound file of images ({reason}); {remedy}")
