"""Reading generated images: folders with manifests, archives, and folders of anything."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cpixelcnn.config import DataConfig, ModelConfig
from cpixelcnn.errors import DataError
from cpixelcnn.sampling.folder.manifest import Origin
from cpixelcnn.sampling.folder.reader import read_samples
from cpixelcnn.sampling.folder.store import SampleStore
from cpixelcnn.sampling.plan import plan_samples

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)  # (N, H, W, C)
CONFIG = ModelConfig(classes=("ant", "bee"), image_height=4, image_width=5)
PLAN = plan_samples(CONFIG, [0, 1, 1], seeds=[7, 8, 9])
ORIGIN = Origin("m", "0", DataConfig())


def write(folder: Path, format: str) -> None:
    store = SampleStore.open(folder, PLAN, ORIGIN, format=format)
    store.write(range(3), torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    store.finish()


def same_pixels(images: torch.Tensor) -> bool:
    return np.array_equal(images.permute(0, 2, 3, 1).numpy(), PIXELS)


@pytest.mark.parametrize("format", ["png", "npz"])
def test_a_folder(tmp_path: Path, format: str) -> None:
    write(tmp_path / "out", format)
    images, data = read_samples(tmp_path / "out")
    assert same_pixels(images.images)
    assert (images.labels.tolist(), images.classes, data) == ([0, 1, 1], ("ant", "bee"), DataConfig())
    assert (images.name, images.split) == (str(tmp_path / "out"), "samples")
    assert (images.paths is None) == (format == "npz")


def test_the_archive_of_a_folder_is_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "out", "npz")
    images, data = read_samples(tmp_path / "out" / "samples.npz")
    assert (images.name, images.classes, data) == (str(tmp_path / "out"), ("ant", "bee"), DataConfig())
    (tmp_path / "out" / "manifest.json").write_text("damaged")
    images, data = read_samples(tmp_path / "out" / "samples.npz")
    assert same_pixels(images.images)
    assert (images.labels.tolist(), images.classes, data) == ([0, 1, 1], (), None)


@pytest.mark.parametrize("channels", [1, 3])
def test_any_archive(tmp_path: Path, channels: int) -> None:
    np.savez(tmp_path / "of an other.NPZ.npz", PIXELS[..., :channels], labels=np.array([4, 0, 1], np.int32))
    images, data = read_samples(tmp_path / "of an other.NPZ.npz")
    assert images.images.shape == (3, channels, 4, 5)
    assert (images.labels.tolist(), images.classes, data) == ([4, 0, 1], (), None)
    np.savez_compressed(tmp_path / "unlabelled.npz", arr_0=PIXELS)
    images, _ = read_samples(tmp_path / "unlabelled.npz")
    assert same_pixels(images.images)
    assert not images.labelled


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"mu": np.zeros(3)}, "arr_0 is missing"),
        ({"arr_0": PIXELS / 255}, "arr_0 is float64"),
        ({"arr_0": PIXELS[0]}, r"arr_0 is uint8 \(4, 5, 3\)"),
        ({"arr_0": PIXELS[..., :2]}, r"arr_0 is uint8 \(3, 4, 5, 2\)"),
        ({"arr_0": PIXELS, "labels": np.zeros(2, np.int64)}, r"labels are int64 \(2,\)"),
        ({"arr_0": PIXELS, "labels": np.full(3, -2)}, "-1 or more"),
        ({"arr_0": PIXELS, "labels": np.zeros(3)}, "labels are float64"),
        ({"arr_0": np.array([{}], dtype=object)}, "allow_pickle"),
        ({"arr_0": PIXELS[:0]}, "there are no images"),
    ],
)
def test_archives_that_are_none(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=rf"x.npz.*{reason}"):
        read_samples(tmp_path / "x.npz")


def test_folders_of_any_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, pixels in zip(("10.png", "9.png", "sub/1.bmp"), PIXELS, strict=True):
        Image.fromarray(pixels).save(tmp_path / name)
    images, data = read_samples(tmp_path)
    assert np.array_equal(images.images.permute(0, 2, 3, 1).numpy(), PIXELS[[1, 0, 2]])
    assert (images.labelled, images.classes, data) == (False, (), None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "there is no such folder"),
        ("absent.npz", "there is no such file"),
        ("text.txt", "neither a folder nor an .npz file"),
        ("text.npz", "is not a sound file of images"),
        ("empty", "there are no images in it"),
    ],
)
def test_what_is_no_samples(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    for text in ("text.txt", "text.npz"):
        (tmp_path / text).write_text("my samples are great")
    with pytest.raises(DataError, match=rf"{name}.*{reason}"):
        read_samples(tmp_path / name)


@pytest.mark.parametrize("format", ["png", "npz"])
def test_an_unfinished_folder(tmp_path: Path, format: str) -> None:
    store = SampleStore.open(tmp_path / "out", PLAN, ORIGIN, format=format)
    for done in range(4):
        with pytest.raises(DataError, match=f"out holds {done} of 3 images .*run the same cpixelcnn sample command"):
            read_samples(tmp_path / "out")
        if done < 3:
            store.write([done], torch.zeros(1, 3, 4, 5, dtype=torch.uint8))
    store.finish()
    assert len(read_samples(tmp_path / "out")[0]) == 3


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "damage",
    [
        lambda manifest: manifest.update(manifest_version=1),
        lambda manifest: manifest.update(model=None),
        lambda manifest: manifest.update(classes="ab"),
        lambda manifest: manifest.update(images={"a": 1}),
        lambda manifest: manifest.update(settings=[]),
        lambda manifest: manifest["images"][0].update(given=3),
        lambda manifest: manifest.update(manifest_version="2"),
        lambda manifest: manifest.update(image_channels=2),
        lambda manifest: manifest.update(image_height="4"),
        lambda manifest: manifest.update(image_width=0),
        lambda manifest: manifest.update(format="jpg"),
        lambda manifest: manifest.update(finished="yes"),
        lambda manifest: manifest.update(classes=[1, 2]),
        lambda manifest: manifest.update(data={"dataset": 5}),
        lambda manifest: manifest.update(images=None),
        lambda manifest: manifest.pop("settings"),
        lambda manifest: manifest["images"][0].update(label=2),
        lambda manifest: manifest["images"][0].update(label=0.0),
        lambda manifest: manifest["images"][0].update(seed=None),
        *(
            lambda manifest, file=file: manifest["images"][0].update(file=file)
            for file in (None, "", "..", ".", "../a.png", "/a.png", "manifest.json", ".a.png", "a\0.png")
        ),
    ],
)
def test_damaged_manifests(tmp_path: Path, damage: Change) -> None:
    write(tmp_path, "png")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    damage(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest.json is not a manifest of samples \(.+\)"):
        read_samples(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "[" * 100_000, "\ud800"])
def test_manifests_that_are_none(tmp_path: Path, text: str) -> None:
    """Nor is the folder of another program's manifest written to, though asked to."""
    content = text.encode("utf-8", "surrogatepass")
    (tmp_path / "manifest.json").write_bytes(content)
    for read in (lambda: read_samples(tmp_path), lambda: SampleStore.open(tmp_path, PLAN, ORIGIN, overwrite=True)):
        with pytest.raises(DataError, match=r"is not a manifest of samples .*remove it, or choose another folder"):
            read()
    assert (tmp_path / "manifest.json").read_bytes() == content


def test_a_manifest_of_a_newer_version(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"manifest_version": 3}')
    with pytest.raises(DataError, match="has format 3, newer than this version's 2; upgrade"):
        read_samples(tmp_path)


@pytest.mark.timeout(20)
def test_files_that_never_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "samples.npz")
    with pytest.raises(DataError, match=r"samples.npz"):
        read_samples(tmp_path / "samples.npz")
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(DataError, match="is not a manifest of samples"):
        read_samples(tmp_path)


def test_an_archive_that_would_fill_the_memory(tmp_path: Path) -> None:
    """17 MB of zeros, deflated, stand for 4 GB; here less, but as many times its size."""
    np.savez_compressed(tmp_path / "bomb.npz", arr_0=np.zeros((100_000, 32, 32, 1), np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 200_000
    with pytest.raises(DataError, match=r"bomb.npz is not a sound file of images \(.*its \d+ bytes would expand to"):
        read_samples(tmp_path / "bomb.npz")
