"""MNIST's files in every form in which they are spread, and what only looks like one."""

import gzip
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.idx import read_idx_split
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, *, gzipped: bool = False, dot: str = "-") -> NDArray[np.uint8]:
    """Training files of 30 images; returns the images."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (30, 5, 4), dtype=np.uint8)
    labels = (np.arange(30) % 10).astype(np.uint8)
    for name, array in ((f"train-images{dot}idx3-ubyte", images), (f"train-labels{dot}idx1-ubyte", labels)):
        content = idx(array)
        (folder / (name + ".gz" * gzipped)).write_bytes(gzip.compress(content) if gzipped else content)
    return images


@pytest.mark.parametrize("below", ["", "raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
def test_every_layout(tmp_path: Path, below: str, gzipped: bool, dot: str) -> None:
    expected = write(tmp_path / below, gzipped=gzipped, dot=dot)
    found = read_idx_split(tmp_path, "FashionMNIST", "train")
    assert found is not None
    np.testing.assert_array_equal(found[0], expected)
    assert found[1].tolist() == [n % 10 for n in range(30)]
    assert read_idx_split(tmp_path, "FashionMNIST", "test") is None


def test_a_flat_folder_is_a_data_set(tmp_path: Path) -> None:
    expected = write(tmp_path, gzipped=True)
    images = load_split(DataConfig("fashion-mnist", str(tmp_path), image_size=8, validation_fraction=0.34), "train")
    assert images.images.shape == (20, 1, 8, 8) and images.classes[0] == "T-shirt/top" and len(expected) == 30
    with pytest.raises(DataError, match="the fashion-mnist files are missing"):
        load_split(DataConfig("fashion-mnist", str(tmp_path)), "test")


def test_one_file_of_two(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"incomplete: there is only .*train-images-idx3-ubyte"):
        read_idx_split(tmp_path, "MNIST", "train")


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("fraction", [0.0, 0.005, 0.03, 0.5, 0.999])
def test_a_part_of_a_file_is_refused(tmp_path: Path, gzipped: bool, fraction: float) -> None:
    write(tmp_path, gzipped=gzipped)
    path = tmp_path / ("train-images-idx3-ubyte" + ".gz" * gzipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DataError, match=r"damaged|not an IDX file"):
        read_idx_split(tmp_path, "MNIST", "train")


def test_more_than_the_header_promises(tmp_path: Path) -> None:
    """A bomb: a small file that would expand to gigabytes is read no further than its header says."""
    write(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    bomb = tmp_path / "train-images-idx3-ubyte.gz"
    bomb.write_bytes(gzip.compress(idx(np.zeros((2, 2, 2), np.uint8)) + bytes(50_000_000)))
    start = time.monotonic()
    with pytest.raises(DataError, match="promises 8 values"):
        read_idx_split(tmp_path, "MNIST", "train")
    bomb.write_bytes(gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, *[2**32 - 1] * 3)))
    with pytest.raises(DataError, match="damaged"):
        read_idx_split(tmp_path, "MNIST", "train")
    assert time.monotonic() - start < 5  # seconds


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_folder_of_debians_package() -> None:
    images = load_split(DataConfig("fashion-mnist", str(DEBIAN)), "test")
    assert images.images.shape == (10_000, 1, 28, 28) and images.class_counts == (1000,) * 10
    assert images.classes[9] == "Ankle boot" and images.labels[:3].tolist() == [9, 2, 1]
