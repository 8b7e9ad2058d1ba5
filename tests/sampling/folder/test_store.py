"""Folders of samples that fill bit by bit: killed anywhere, they go on to what they would have been."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cpixelcnn.config import DataConfig
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.plots.grids import save_grid
from cpixelcnn.sampling.folder.archive import write_part
from cpixelcnn.sampling.folder.manifest import file_names, read_manifest
from cpixelcnn.sampling.folder.reader import drawn_images, read_samples
from cpixelcnn.sampling.folder.store import SampleRequest, SampleStore

CLASSES = ("ant", "bee/wasp", "cat")
FORMATS = pytest.mark.parametrize("format", ["png", "npz"])


def make_request(n: int = 5, channels: int = 3, **changes: Any) -> SampleRequest:
    values: dict[str, Any] = {
        "model": "runs/a/best",
        "model_sha256": "5f" * 32,
        "classes": CLASSES,
        "data": DataConfig(image_size=4),
        "image_shape": (channels, 4, 3),
        "settings": {"sampler": "incremental", "temperatures": (1.0, 0.9)},
        "format": "png",
        "labels": tuple(i % 3 for i in range(n)),
        "seeds": tuple(1000 + i for i in range(n)),
    }
    return SampleRequest(**(values | changes))


def pictures(request: SampleRequest, indices: Sequence[int]) -> Tensor:
    """What the model draws: each image a function of its seed."""
    images = [
        torch.randint(0, 256, request.image_shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        for seed in (request.seeds[i] for i in indices)
    ]
    return torch.stack(images) if images else torch.empty(0, *request.image_shape, dtype=torch.uint8)


def draw(folder: Path, request: SampleRequest, batch_size: int = 2, **options: Any) -> None:
    """What the command does."""
    store = SampleStore.open(folder, request, **options)
    missing = store.missing()
    for start in range(0, len(missing), batch_size):
        some = missing[start : start + batch_size]
        store.write(some, pictures(request, some))
    store.finish()
    save_grid(store.grid, store.images(), columns=2)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Killed(BaseException):
    """The process is no more."""


@contextmanager
def killed_after(changes: int) -> Iterator[None]:
    """The process dies before its next change of the disk; a dead process removes no temporary files either."""
    left = changes

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return function(*arguments, **options)

        return call

    with ExitStack() as stack:
        for name in ("replace", "unlink", "mkdir", "fsync"):
            stack.enter_context(patch.object(os, name, mortal(getattr(os, name))))
        yield


def survives(changes: int, function: Callable[..., None], *arguments: Any, **options: Any) -> bool:
    try:
        with killed_after(changes):
            function(*arguments, **options)
    except Killed:
        return False
    return True


@FORMATS
@pytest.mark.parametrize("channels", [1, 3])
def test_the_images_come_back_as_they_were(tmp_path: Path, format: str, channels: int) -> None:
    request = make_request(5, channels, format=format)
    draw(tmp_path / "a" / "out", request)
    images, data = read_samples(tmp_path / "a" / "out")
    assert torch.equal(images.images, pictures(request, range(5)))
    assert images.labels.tolist() == list(request.labels)
    assert (images.classes, images.split, data) == (CLASSES, "samples", request.data)
    manifest = json.loads((tmp_path / "a" / "out" / "manifest.json").read_text())
    assert (manifest["manifest_version"], manifest["finished"], manifest["format"]) == (2, True, format)
    assert manifest["settings"] == {"sampler": "incremental", "temperatures": [1.0, 0.9]}
    assert [entry["class"] for entry in manifest["images"]] == ["ant", "bee/wasp", "cat", "ant", "bee/wasp"]
    own = {"samples.npz"} if format == "npz" else {"ant-00000.png", "bee-wasp-00001.png", "cat-00002.png"}
    assert own <= set(tree(tmp_path / "a" / "out"))
    assert len(tree(tmp_path / "a" / "out")) == (3 if format == "npz" else 7)


def test_the_archive_is_laid_out_as_evaluation_suites_expect(tmp_path: Path) -> None:
    request = make_request(4, 1, format="npz", labels=(2, 1, 0, -1), seeds=(1, 2, 3, 2**63 + 5))
    draw(tmp_path, request)
    with np.load(tmp_path / "samples.npz") as archive:
        assert set(archive.files) == {"arr_0", "labels", "seeds"}
        assert (archive["arr_0"].shape, archive["arr_0"].dtype) == ((4, 4, 3, 1), np.uint8)
        assert (archive["labels"].tolist(), archive["labels"].dtype) == ([2, 1, 0, -1], np.int64)
        assert (archive["seeds"].tolist(), archive["seeds"].dtype) == ([1, 2, 3, 2**63 + 5], np.uint64)


@FORMATS
def test_killed_once_anywhere_it_comes_to_the_same(tmp_path: Path, format: str) -> None:
    request = make_request(5, format=format)
    draw(tmp_path / "whole", request)
    changes = 0
    while not survives(changes, draw, out := tmp_path / f"killed-{changes}", request):
        draw(out, request, batch_size=3)
        assert tree(out) == tree(tmp_path / "whole"), f"killed after {changes} changes"
        changes += 1
    assert changes > 10


@settings(max_examples=40, deadline=None)
@given(
    format=st.sampled_from(["png", "npz"]),
    channels=st.sampled_from([1, 3]),
    n=st.integers(0, 7),
    kills=st.lists(st.tuples(st.integers(0, 25), st.integers(1, 4)), max_size=6),
)
def test_killed_again_and_again_it_loses_nothing(
    format: str, channels: int, n: int, kills: list[tuple[int, int]]
) -> None:
    request = make_request(n, channels, format=format)
    with tempfile.TemporaryDirectory() as place:
        whole, out = Path(place, "whole"), Path(place, "out")
        draw(whole, request)
        before: set[int] = set()
        for changes, batch_size in kills:
            survives(changes, draw, out, request, batch_size)
            if (out / "manifest.json").exists():
                manifest = read_manifest(out)
                assert manifest is not None
                drawn = drawn_images(out, manifest)
                assert drawn >= before
                before = drawn
        draw(out, request)
        assert tree(out) == tree(whole)


@pytest.mark.parametrize("formats", [("png", "npz"), ("npz", "png"), ("png", "png"), ("npz", "npz")])
def test_killed_while_it_replaces_other_samples(tmp_path: Path, formats: tuple[str, str]) -> None:
    """Images of the same class and number, so that the new folder has files of the same names."""
    old, new = (make_request(3, format=format, seeds=(k, k + 1, k + 2)) for k, format in enumerate(formats))
    draw(tmp_path / "whole", new)
    changes, alive = 0, False
    while not alive:
        out = tmp_path / f"killed-{changes}"
        draw(out, old)
        (out / "mine.txt").write_text("keep me")
        alive = survives(changes, draw, out, new, overwrite=True)
        draw(out, new, overwrite=True)
        files = tree(out)
        assert files.pop("mine.txt") == b"keep me"
        assert files == tree(tmp_path / "whole"), f"killed after {changes} changes"
        changes += 1


@FORMATS
def test_a_finished_folder_is_left_as_it_is(tmp_path: Path, format: str) -> None:
    request = make_request(format=format)
    draw(tmp_path, request)
    before = tree(tmp_path)
    elsewhere = dataclasses.replace(request, model="somewhere/else.safetensors")
    store = SampleStore.open(tmp_path, elsewhere)
    assert store.missing() == []
    store.finish()
    assert tree(tmp_path) == before


@FORMATS
def test_a_model_that_moved_is_the_same_model(tmp_path: Path, format: str) -> None:
    request = make_request(format=format)
    SampleStore.open(tmp_path, request).write([1, 3], pictures(request, [1, 3]))
    moved = SampleStore.open(tmp_path, dataclasses.replace(request, model="elsewhere"))
    assert moved.missing() == [0, 2, 4]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_sha256": "00" * 32}, "model sha256"),
        ({"settings": {"sampler": "naive"}}, "settings"),
        ({"seeds": (1, 2, 3, 4, 6)}, "images"),
        ({"labels": (0, 0, 0, 0, 0)}, "images"),
        ({"classes": ("ant", "bee/wasp", "dog")}, "classes"),
        ({"data": DataConfig(dataset="cifar10")}, "data"),
        ({"image_shape": (3, 4, 4)}, "image width"),
        ({"format": "npz"}, "format"),
        ({"given": ("a", "b", "c", "d", "e")}, "images"),
    ],
)
def test_other_samples_are_replaced_only_if_asked(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    request = make_request()
    other = dataclasses.replace(request, **change)
    draw(tmp_path / "out", request)
    draw(tmp_path / "fresh", other)
    before = tree(tmp_path / "out")
    with pytest.raises(ConfigError, match=f"out holds other samples .*{named}.*--overwrite"):
        SampleStore.open(tmp_path / "out", other)
    assert tree(tmp_path / "out") == before
    draw(tmp_path / "out", other, overwrite=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@FORMATS
def test_overwriting_starts_the_same_samples_anew(tmp_path: Path, format: str) -> None:
    request = make_request(format=format)
    draw(tmp_path, request)
    assert SampleStore.open(tmp_path, request, overwrite=True).missing() == [0, 1, 2, 3, 4]
    assert list(tree(tmp_path)) == ["manifest.json"]
    with pytest.raises(DataError, match="holds 0 of 5 images"):
        read_samples(tmp_path)


@pytest.mark.parametrize("name", ["grid.png", "cat-00002.png", "samples.npz", ".part-0-2.npz"])
def test_what_somebody_else_put_there_is_not_overwritten(tmp_path: Path, name: str) -> None:
    request = make_request(format="npz" if name == "samples.npz" else "png")
    (tmp_path / name).write_bytes(b"somebody's own")
    with pytest.raises(ConfigError, match=rf"{name} already.*--overwrite"):
        SampleStore.open(tmp_path, request)
    assert tree(tmp_path) == {name: b"somebody's own"}
    draw(tmp_path, request, overwrite=True)
    assert torch.equal(read_samples(tmp_path)[0].images, pictures(request, range(5)))


def test_what_is_in_nobodys_way_stays(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"a cat")
    (tmp_path / ".cat.abcdefgh.tmp").write_bytes(b"another's temporary file")
    draw(tmp_path, make_request())
    draw(tmp_path, make_request(4), overwrite=True)
    assert (tmp_path / "cat.png").read_bytes() == b"a cat"
    assert (tmp_path / ".cat.abcdefgh.tmp").exists()


@FORMATS
def test_images_that_were_deleted_are_drawn_again(tmp_path: Path, format: str) -> None:
    request = make_request(format=format)
    draw(tmp_path, request)
    before = tree(tmp_path)
    (tmp_path / ("samples.npz" if format == "npz" else "cat-00002.png")).unlink()
    with pytest.raises(DataError):
        read_samples(tmp_path)
    store = SampleStore.open(tmp_path, request)
    assert store.missing() == ([0, 1, 2, 3, 4] if format == "npz" else [2])
    with pytest.raises(DataError, match="is not finished; run the same cpixelcnn sample command again"):
        read_samples(tmp_path)
    store.close()
    draw(tmp_path, request)
    assert tree(tmp_path) == before


@FORMATS
def test_finishing_needs_all_images(tmp_path: Path, format: str) -> None:
    request = make_request(format=format)
    store = SampleStore.open(tmp_path, request)
    store.write([], pictures(request, []))
    store.write([4, 0], pictures(request, [4, 0]))
    for act in (store.finish, store.images, lambda: read_samples(tmp_path)):
        with pytest.raises(DataError, match="2 of 5 images" if format == "npz" or act != store.images else "no such"):
            act()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    request = make_request()
    store = SampleStore.open(tmp_path / "png", request)
    store.write(range(5), pictures(request, range(5)))
    path = tmp_path / "png" / "cat-00002.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"delete them, then run the same[\s\S]*cat-00002.png: damaged"):
        store.images()
    small = make_request(5, image_shape=(3, 2, 2))
    draw(tmp_path / "small", small)
    for name in file_names(CLASSES, request.labels):
        (tmp_path / "png" / name).write_bytes((tmp_path / "small" / name).read_bytes())
    with pytest.raises(DataError, match=r"\(5, 3, 2, 2\), but its manifest says \(5, 3, 4, 3\)"):
        store.images()


@pytest.mark.parametrize("damage", ["cut", "empty", "page", "indices", "shape"])
def test_damaged_parts_are_named(tmp_path: Path, damage: str) -> None:
    request = make_request(format="npz")
    store = SampleStore.open(tmp_path, request)
    images = pictures(request, [0, 1, 2])
    store.write([0, 1, 2], images)
    part = tmp_path / ".part-0-3.npz"
    if damage == "indices":
        write_part(tmp_path, [0, 1, 99], images)
    elif damage == "shape":
        write_part(tmp_path, [0, 1, 2], images[:, :, 1:])
    else:
        part.write_bytes({"cut": part.read_bytes()[:-30], "empty": b"", "page": b"<html>" * 99}[damage])
    with pytest.raises(DataError, match=r"part-0-3.npz is not a sound file.*delete it, then run the same"):
        rest = store.missing()
        store.write(rest, pictures(request, rest))
        store.finish()
    store.close()
    part.unlink()
    draw(tmp_path, request)
    assert torch.equal(read_samples(tmp_path)[0].images, pictures(request, range(5)))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    request = make_request(format="npz")
    draw(tmp_path, request)
    whole = tree(tmp_path)
    for content in (whole["samples.npz"][:-30], b"", b"<html>" * 99):
        (tmp_path / "samples.npz").write_bytes(content)
        for read in (lambda: read_samples(tmp_path), SampleStore.open(tmp_path, request, leader=False).images):
            with pytest.raises(DataError, match=r"samples.npz is not a sound file.*delete it, then run the same"):
                read()
    (tmp_path / "samples.npz").unlink()
    draw(tmp_path, request)
    assert tree(tmp_path) == whole


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = make_request()
    store = SampleStore.open(tmp_path, request)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match=r"No space left on device.*make room"):
        store.write([0], pictures(request, [0]))
    assert list(tree(tmp_path)) == ["manifest.json"]


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_that_cannot_be_written_to(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"{out} cannot be written to .*--out"):
        SampleStore.open(tmp_path / out, make_request())
    (tmp_path / "folder" / "grid.png").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"grid.png cannot be replaced"):
        SampleStore.open(tmp_path / "folder", make_request(), overwrite=True)


def test_two_commands_do_not_fill_one_folder_at_a_time(tmp_path: Path) -> None:
    first = SampleStore.open(tmp_path, make_request())
    with pytest.raises(ConfigError, match="another cpixelcnn sample is writing to"):
        SampleStore.open(tmp_path, make_request(), overwrite=True)
    assert SampleStore.open(tmp_path, make_request(), leader=False).missing() == [0, 1, 2, 3, 4]
    first.close()
    second = SampleStore.open(tmp_path, make_request())
    del second  # without being closed
    third = SampleStore.open(tmp_path, make_request())
    third.write(range(5), pictures(third.request, range(5)))
    third.finish()
    assert SampleStore.open(tmp_path, make_request()).missing() == []


def test_the_others_wait_for_what_the_leader_prepares(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same options"):
        SampleStore.open(tmp_path, make_request(), leader=False)
    leader = SampleStore.open(tmp_path, make_request())
    with pytest.raises(ConfigError, match="same options"):
        SampleStore.open(tmp_path, make_request(4), leader=False)
    assert list(tree(tmp_path)) == ["manifest.json"]
    leader.close()


WRITER = """
import sys, torch
from pathlib import Path
import cpixelcnn.sampling.folder.store as module
from cpixelcnn.config import DataConfig

place, first = Path(sys.argv[1]), int(sys.argv[2])
for format in ("png", "npz"):
    request = module.SampleRequest(
        "m", "0", ("a", "b"), DataConfig(), (3, 4, 4), {}, format, tuple(i % 2 for i in range(31)), tuple(range(31))
    )
    store = module.SampleStore.open(place / format, request, leader=False)
    mine = range(first, 31, 3)
    for start in range(0, len(mine), 2):
        some = mine[start : start + 2]
        store.write(some, torch.stack([torch.full((3, 4, 4), i, dtype=torch.uint8) for i in some]))
"""


def test_several_processes_write_at_a_time(tmp_path: Path) -> None:
    labels, seeds = tuple(i % 2 for i in range(31)), tuple(range(31))
    stores = [
        SampleStore.open(
            tmp_path / format, SampleRequest("m", "0", ("a", "b"), DataConfig(), (3, 4, 4), {}, format, labels, seeds)
        )
        for format in ("png", "npz")
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(first)], env=environment) for first in range(3)]
    assert [writer.wait(timeout=100) for writer in writers] == [0, 0, 0]
    for store in stores:
        assert store.missing() == []
        store.finish()
        assert store.images()[:, 0, 0, 0].tolist() == list(range(31))
        assert torch.equal(read_samples(store.folder)[0].images, store.images())


@given(st.lists(st.text(), min_size=1, max_size=4), st.data())
def test_files_are_named_after_any_class(classes: list[str], data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(-1, len(classes) - 1), max_size=12))
    names = file_names(classes, labels)
    assert len(set(names)) == len(labels)
    for name in names:
        assert Path(name).name == name and not name.startswith((".", "-"))
        assert len(name.encode()) < 200


def test_odd_classes_many_images_and_none(tmp_path: Path) -> None:
    classes = ("../../x", "a/b", ".", "", "猫" * 100, "[red]", os.fsdecode(b"\xff"), "-c")
    draw(tmp_path / "odd", make_request(classes=classes, labels=tuple(range(8)), seeds=tuple(range(8))))
    assert read_samples(tmp_path / "odd")[0].classes == classes
    assert len(list((tmp_path / "odd").iterdir())) == 10
    assert file_names(("a",), [0] * 100_001)[-1] == "a-100000.png"
    assert file_names(("a",), [0] * 100_001)[0] == "a-000000.png"
    assert file_names(("a",), [0] * 100_000)[0] == "a-00000.png"
    with pytest.raises(ConfigError, match="--format 'jpg'"):
        make_request(format="jpg")
