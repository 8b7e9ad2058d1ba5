"""Torchvision's data sets, with tiny files of the right layout in place of the real ones, and no network."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision import datasets

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.errors import ConfigError, DataError

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def load(name: str, root: Path, split: str = "train", **options: Any) -> ImageSet:
    return load_split(DataConfig(name, str(root), image_size=options.pop("image_size", None)), split, **options)


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_contents() -> list[bytes]:
    contents = []
    for count in (40, 20):
        labels = np.arange(count, dtype=np.uint8) % 10
        contents += [idx(np.repeat(labels, 784).reshape(count, 28, 28)), idx(labels)]
    return contents


def write_mnist(root: Path, kind: str = "MNIST") -> Path:
    raw = root / kind / "raw"
    raw.mkdir(parents=True)
    for name, content in zip(MNIST_FILES, mnist_contents(), strict=True):
        (raw / name).write_bytes(content)
    return raw


def write_pickle(path: Path, document: Any) -> str:
    path.write_bytes(pickle.dumps(document))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a CIFAR-10 with one training file of 40 images and 20 test images."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    lists = {}
    for name, count in (("data_batch_1", 40), ("test_batch", 20)):
        labels = [index % 10 for index in range(count)]
        data = np.zeros((count, 3, 32, 32), dtype=np.uint8)
        data[:, 0], data[:, 1, 0] = np.array(labels)[:, None, None], 200
        lists[name] = [[name, write_pickle(folder / name, {"data": data.reshape(count, -1), "labels": labels})]]
    meta = write_pickle(folder / "batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", lists["data_batch_1"])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", lists["test_batch"])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": meta})
    return tmp_path


def refuse_network(*_: object, **__: object) -> None:
    raise OSError("no network")


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_grey_sets(tmp_path: Path, name: str, kind: str) -> None:
    write_mnist(tmp_path, kind)
    parts = {split: load(name, tmp_path, split) for split in ("train", "validation", "test")}
    assert [len(part) for part in parts.values()] == [30, 10, 20]
    for part in parts.values():
        assert part.images.shape[1:] == (1, 28, 28) and part.labels.dtype == torch.int64
        assert part.images[:, 0, 5, 5].tolist() == part.labels.tolist()
    assert parts["validation"].class_counts == (1,) * 10
    assert parts["validation"].origin == f"held out from training images of {name} (0.1 of each class, seed 0)"
    assert parts["test"].classes[9] == ("9" if name == "mnist" else "Ankle boot")


def test_colour_sets(cifar10: Path) -> None:
    parts = {split: load("cifar10", cifar10, split) for split in ("train", "validation", "test")}
    assert [len(part) for part in parts.values()] == [30, 10, 20]
    for part in parts.values():
        assert part.images.shape[1:] == (3, 32, 32) and part.classes == tuple("abcdefghij")
        assert part.images[:, 0, 3, 3].tolist() == part.labels.tolist()
        assert (part.images[:, 1, 0] == 200).all() and (part.images[:, 1, 1:] == 0).all()


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    document = {
        "data": np.zeros((6, 3072), dtype=np.uint8),
        "fine_labels": [0, 0, 0, 1, 1, 1],
        "coarse_labels": [9] * 6,
    }
    lists = {name: [[name, write_pickle(folder / name, document)]] for name in ("train", "test")}
    meta = write_pickle(folder / "meta", {"fine_label_names": ["apple", "bee"]})
    monkeypatch.setattr(datasets.CIFAR100, "train_list", lists["train"])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", lists["test"])
    monkeypatch.setattr(datasets.CIFAR100, "meta", datasets.CIFAR100.meta | {"md5": meta})
    assert load("cifar100", tmp_path).class_counts == (2, 2)
    assert load("cifar100", tmp_path, "test").classes == ("apple", "bee")


def test_another_size(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    images = load("mnist", tmp_path, "test", image_size=16)
    assert images.images.shape == (20, 1, 16, 16) and images.images[:, 0, 5, 5].tolist() == images.labels.tolist()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion-mnist"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"the {name} files are missing in {tmp_path}.*`download`"):
        load(name, tmp_path)


class Payload:
    """Unpickling this makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_poisoned_pickle_is_never_unpickled(cifar10: Path, name: str) -> None:
    harm = cifar10 / "harm"
    write_pickle(cifar10 / "cifar-10-batches-py" / name, {"data": Payload(harm), "label_names": Payload(harm)})
    with pytest.raises(DataError, match="incomplete or damaged"):
        load("cifar10", cifar10)
    assert not harm.exists()


def test_a_poisoned_cache_of_mnist_is_never_unpickled(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save(Payload(tmp_path / "harm"), processed / name)
    assert len(load("mnist", tmp_path)) == 30
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", MNIST_FILES[:2])
@pytest.mark.parametrize("length", [0, 3, 10, 30])
def test_half_a_file_is_not_taken_for_a_whole_one(tmp_path: Path, name: str, length: int) -> None:
    path = write_mnist(tmp_path) / name
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match="incomplete or damaged"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("labels", [[0, 1, 2], [77] * 20])
def test_labels_that_do_not_fit(tmp_path: Path, labels: list[int]) -> None:
    path = write_mnist(tmp_path) / MNIST_FILES[3]
    path.write_bytes(idx(np.array(labels, dtype=np.uint8)))
    with pytest.raises(DataError, match="are damaged"):
        load("mnist", tmp_path, "test")


def test_a_download_repairs_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives that are already here are used; half a file from an interrupted extraction is replaced."""
    root = tmp_path / "not yet there"
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    resources = []
    for name, content in zip(MNIST_FILES, mnist_contents(), strict=True):
        archive = raw / f"{name}.gz"
        archive.write_bytes(gzip.compress(content))
        resources.append((archive.name, hashlib.md5(archive.read_bytes()).hexdigest()))
    (raw / MNIST_FILES[0]).write_bytes(b"\0\0\x08")
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", refuse_network)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", refuse_network)
    with pytest.raises(DataError, match="incomplete or damaged"):
        load("mnist", root)
    assert len(load("mnist", root, download=True)) == 30
    assert sorted(path.name for path in root.iterdir()) == ["MNIST"]
    assert len(load("mnist", root)) == 30


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_a_failed_download_says_so_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", refuse_network)
    with pytest.raises(DataError, match=rf"{name} could not be downloaded to .*no network.*check the network"):
        load(name, tmp_path / "new", download=True)
    assert list((tmp_path / "new").iterdir()) == []


def test_without_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(ConfigError, match="pip install torchvision"):
        load("cifar10", tmp_path)
    write_mnist(tmp_path)
    assert len(load("mnist", tmp_path)) == 30, "plain arrays need no torchvision"
