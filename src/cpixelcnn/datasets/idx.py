"""MNIST's files and those in its format (IDX), plain or gzipped, as they are spread: by torchvision, Debian, Zalando.

The format: http://yann.lecun.com/exdb/mnist (two zero bytes, a type, the number of axes, their big-endian lengths, the
values).
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpixelcnn.errors import DataError
from cpixelcnn.foreign_files import open_regular

MOST_BYTES = 1 << 30  # of one file's values; MNIST's training images are 47 MB
_UNSIGNED_BYTES = 8
_NAMES = {"train": "train", "test": "t10k"}


def read_idx_split(root: Path, kind: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Images and labels of one split.

    Args:
        root: a directory with the files themselves, or with torchvision's folder ``KIND/raw`` for them.
        kind: torchvision's name of the data set, such as "FashionMNIST".
        split: "train" or "test".

    Returns:
        uint8 (N, H, W) and (N,), or None if there are no files.

    Raises:
        DataError: one of the two files is missing or damaged.
    """
    for folder in (root / kind / "raw", root / "raw", root):
        paths = [
            _find(folder, f"{_NAMES[split]}-{what}-idx{axes}-ubyte") for what, axes in (("images", 3), ("labels", 1))
        ]
        if paths[0] and paths[1]:
            return _read(paths[0], axes=3), _read(paths[1], axes=1)
        if paths[0] or paths[1]:
            raise DataError(f"the {split} files in {folder} are incomplete: there is only {paths[0] or paths[1]}")
    return None


def _find(folder: Path, name: str) -> Path | None:
    """The file of this name, with a dot for its last dash but one as some archives have it, plain or gzipped."""
    names = (name, name.replace("-idx", ".idx"))
    candidates = [folder / f"{stem}{suffix}" for suffix in ("", ".gz") for stem in names]
    return next((path for path in candidates if os.path.isfile(path)), None)


def _read(path: Path, axes: int) -> NDArray[np.uint8]:
    try:
        with open_regular(path, MOST_BYTES) as stored, gzip.open(stored) if path.suffix == ".gz" else stored as file:
            zeros, kind, found = struct.unpack(">HBB", file.read(4))
            if (zeros, kind, found) != (0, _UNSIGNED_BYTES, axes):
                raise DataError(f"{path} is not an IDX file of bytes with {axes} axes; put the original file there")
            shape = struct.unpack(f">{axes}I", file.read(4 * axes))
            size = math.prod(shape)  # the header bounds what is unpacked, however small the file is
            content = file.read(size + 1) if size <= MOST_BYTES else b""
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); put the original file there") from error
    if len(content) != size:
        raise DataError(f"{path} is damaged (its header promises {size} values); put the original file there")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape).copy()
