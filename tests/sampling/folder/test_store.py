"""Folders of samples that fill bit by bit: killed anywhere, they go on to what they would have been."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cpixelcnn.config import DataConfig, ModelConfig
from cpixelcnn.datasets.image_files import GRID, MANIFEST, STRIP, find_images
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.plots.grids import grid
from cpixelcnn.sampling.folder.manifest import Origin, file_names, read_manifest
from cpixelcnn.sampling.folder.reader import drawn_images, read_samples
from cpixelcnn.sampling.folder.store import SampleStore
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.plan import SamplePlan, plan_samples

CLASSES = ("ant", "bee/wasp", "cat")
FORMATS = pytest.mark.parametrize("format", ["png", "npz"])


@dataclass(frozen=True)
class Request:
    """What a folder is asked to hold: the arguments of `SampleStore.open`."""

    plan: SamplePlan
    origin: Origin
    format: str

    def open(self, folder: Path, **options: Any) -> SampleStore:
        return SampleStore.open(folder, self.plan, self.origin, format=self.format, **options)


def make_request(n: int = 5, channels: int = 3, **changes: Any) -> Request:
    values: dict[str, Any] = {
        "labels": tuple(i % 3 for i in range(n)),
        "seeds": tuple(1000 + i for i in range(n)),
        "options": SamplingOptions(scale_temperature=0.9),
        "given_names": None,
        "model": "runs/a/best",
        "model_sha256": "5f" * 32,
        "data": DataConfig(image_size=4),
        "format": "png",
        "classes": CLASSES,
        "height": 4,
        "width": 3,
    } | changes
    config = ModelConfig(
        classes=values["classes"],
        image_channels=channels,
        image_height=values["height"],
        image_width=values["width"],
        early_fusion="none" if -1 in values["labels"] else "vector",
        film="none",
    )
    plan = SamplePlan(config, values["labels"], values["seeds"], values["options"], given_names=values["given_names"])
    return Request(plan, Origin(values["model"], values["model_sha256"], values["data"]), values["format"])


def pictures(request: Request, indices: Sequence[int]) -> Tensor:
    """What the model draws: each image a function of its seed."""
    shape = request.plan.image_shape
    images = [
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        for seed in (request.plan.seeds[i] for i in indices)
    ]
    return torch.stack(images) if images else torch.empty(0, *shape, dtype=torch.uint8)


def draw(folder: Path, request: Request, batch_size: int = 2, **options: Any) -> None:
    """What the command does."""
    store = request.open(folder, **options)
    missing = store.missing()
    for start in range(0, len(missing), batch_size):
        some = missing[start : start + batch_size]
        store.write(some, pictures(request, some))
    store.finish()
    store.write_picture(GRID, grid(store.images(), columns=2))


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
    assert images.labels.tolist() == list(request.plan.labels)
    assert (images.classes, images.split, data) == (CLASSES, "samples", request.origin.data)
    manifest = json.loads((tmp_path / "a" / "out" / "manifest.json").read_text())
    assert (manifest["manifest_version"], manifest["finished"], manifest["format"]) == (2, True, format)
    assert manifest["settings"]["scale_temperature"] == 0.9
    assert [entry["class"] for entry in manifest["images"]] == ["ant", "bee/wasp", "cat", "ant", "bee/wasp"]
    own = {"samples.npz"} if format == "npz" else {"ant-00000.png", "bee-wasp-00001.png", "cat-00002.png"}
    assert own <= set(tree(tmp_path / "a" / "out"))
    assert len(tree(tmp_path / "a" / "out")) == (3 if format == "npz" else 7)


def test_the_archive_is_laid_out_as_evaluation_suites_expect(tmp_path: Path) -> None:
    request = make_request(4, 1, format="npz", labels=(2, 1, 0, 0), seeds=(1, 2, 3, 2**63 + 5))
    draw(tmp_path, request)
    with np.load(tmp_path / "samples.npz") as archive:
        assert set(archive.files) == {"arr_0", "labels", "seeds"}
        assert (archive["arr_0"].shape, archive["arr_0"].dtype) == ((4, 4, 3, 1), np.uint8)
        assert (archive["labels"].tolist(), archive["labels"].dtype) == ([2, 1, 0, 0], np.int64)
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


@pytest.mark.parametrize(
    "formats",
    [
        ("npz", "png"),
        *(pytest.param(of, marks=pytest.mark.slow) for of in (("png", "npz"), ("png", "png"), ("npz", "npz"))),
    ],
)
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
    elsewhere = make_request(format=format, model="somewhere/else.safetensors")
    store = elsewhere.open(tmp_path)
    assert store.missing() == []
    store.finish()
    assert tree(tmp_path) == before


@FORMATS
def test_a_model_that_moved_is_the_same_model(tmp_path: Path, format: str) -> None:
    request = make_request(format=format)
    request.open(tmp_path).write([1, 3], pictures(request, [1, 3]))
    moved = make_request(format=format, model="elsewhere").open(tmp_path)
    assert moved.missing() == [0, 2, 4]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_sha256": "00" * 32}, "model sha256"),
        ({"options": SamplingOptions("naive")}, "settings"),
        ({"seeds": (1, 2, 3, 4, 6)}, "images"),
        ({"labels": (0, 0, 0, 0, 0)}, "images"),
        ({"classes": ("ant", "bee/wasp", "dog")}, "classes"),
        ({"data": DataConfig(dataset="cifar10")}, "data"),
        ({"width": 4}, "image width"),
        ({"format": "npz"}, "format"),
        ({"given_names": ("a", "b", "c", "d", "e")}, "images"),
    ],
)
def test_other_samples_are_replaced_only_if_asked(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    request = make_request()
    other = make_request(**change)
    draw(tmp_path / "out", request)
    draw(tmp_path / "fresh", other)
    before = tree(tmp_path / "out")
    with pytest.raises(ConfigError, match=f"out holds other samples .*{named}.*`overwrite`"):
        other.open(tmp_path / "out")
    assert tree(tmp_path / "out") == before
    draw(tmp_path / "out", other, overwrite=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@FORMATS
def test_overwriting_starts_the_same_samples_anew(tmp_path: Path, format: str) -> None:
    request = make_request(format=format)
    draw(tmp_path, request)
    assert request.open(tmp_path, overwrite=True).missing() == [0, 1, 2, 3, 4]
    assert list(tree(tmp_path)) == ["manifest.json"]
    with pytest.raises(DataError, match="holds 0 of 5 images"):
        read_samples(tmp_path)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["grid.png", "cat-00002.png", "samples.npz", "holiday.jpg", "notes.txt", "folder"])
def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path, name: str, overwrite: bool) -> None:
    """Samples among somebody's images would count as images, and overwriting means samples, not those images."""
    if name == "folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"somebody's own")
    for format in ("png", "npz"):
        with pytest.raises(ConfigError, match=rf"holds {name}, and no samples; choose another `out`"):
            make_request(format=format).open(tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_hidden_files_make_no_folder_somebody_elses(tmp_path: Path) -> None:
    """Such as file managers leave behind, and such as a process that was killed while it wrote the manifest."""
    (tmp_path / ".DS_Store").touch()
    (tmp_path / ".manifest.json.abcdefgh.tmp").touch()
    draw(tmp_path, make_request())
    assert (tmp_path / ".DS_Store").exists()
    assert not (tmp_path / ".manifest.json.abcdefgh.tmp").exists()


def test_what_is_in_nobodys_way_stays(tmp_path: Path) -> None:
    draw(tmp_path, make_request())
    (tmp_path / "cat.png").write_bytes(b"a cat")
    (tmp_path / ".cat.abcdefgh.tmp").write_bytes(b"another's temporary file")
    draw(tmp_path, make_request())
    draw(tmp_path, make_request(4), overwrite=True)
    assert (tmp_path / "cat.png").read_bytes() == b"a cat"
    assert (tmp_path / ".cat.abcdefgh.tmp").exists()


# --- More of the same -----------------------------------------------------------------------------------------------


@FORMATS
def test_more_of_the_same_are_added(tmp_path: Path, format: str) -> None:
    few, more = make_request(3, format=format), make_request(8, format=format)
    draw(tmp_path / "whole", more)
    draw(tmp_path / "out", few)
    store = more.open(tmp_path / "out")
    assert store.missing() == [3, 4, 5, 6, 7]
    with pytest.raises(DataError, match="holds 3 of 8 images"):
        read_samples(tmp_path / "out")
    store.close()
    draw(tmp_path / "out", more)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@FORMATS
def test_killed_while_it_adds_more_it_comes_to_the_same(tmp_path: Path, format: str) -> None:
    """What was there before is never lost: it is read as it was, or counted among what is drawn."""
    few, more = make_request(3, format=format), make_request(5, format=format)
    draw(tmp_path / "whole", more)
    changes, alive = 0, False
    while not alive:
        out = tmp_path / f"killed-{changes}"
        draw(out, few)
        alive = survives(changes, draw, out, more)
        manifest = read_manifest(out)
        assert manifest is not None
        assert drawn_images(out, manifest) >= {0, 1, 2}, f"killed after {changes} changes"
        draw(out, more)
        assert tree(out) == tree(tmp_path / "whole"), f"killed after {changes} changes"
        changes += 1
    assert changes > 10


@FORMATS
def test_fewer_of_the_same_are_refused(tmp_path: Path, format: str) -> None:
    """The folder would hold more than was asked for, and a distance of it would be one of others."""
    draw(tmp_path, make_request(5, format=format))
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match="holds 5 of these images, more than the 3 that were asked for"):
        make_request(3, format=format).open(tmp_path)
    assert tree(tmp_path) == before


def test_more_of_something_else_is_refused(tmp_path: Path) -> None:
    draw(tmp_path, make_request(3))
    for change in ({"seeds": range(8)}, {"model_sha256": "0"}, {"options": SamplingOptions(guidance=1.0)}):
        with pytest.raises(ConfigError, match="holds other samples"):
            make_request(8, **change).open(tmp_path)


def test_a_damaged_archive_is_not_added_to(tmp_path: Path) -> None:
    draw(tmp_path, make_request(3, format="npz"))
    (tmp_path / "samples.npz").write_bytes(b"<html>" * 99)
    before = tree(tmp_path)
    with pytest.raises(DataError, match="not a sound file"):
        make_request(5, format="npz").open(tmp_path)
    assert tree(tmp_path) == before


# --- Missing and damaged --------------------------------------------------------------------------------------------


@FORMATS
def test_images_that_were_deleted_are_drawn_again(tmp_path: Path, format: str) -> None:
    request = make_request(format=format)
    draw(tmp_path, request)
    before = tree(tmp_path)
    (tmp_path / ("samples.npz" if format == "npz" else "cat-00002.png")).unlink()
    with pytest.raises(DataError):
        read_samples(tmp_path)
    store = request.open(tmp_path)
    assert store.missing() == ([0, 1, 2, 3, 4] if format == "npz" else [2])
    with pytest.raises(DataError, match="is not finished; run the same cpixelcnn sample command again"):
        read_samples(tmp_path)
    store.close()
    draw(tmp_path, request)
    assert tree(tmp_path) == before


@FORMATS
def test_finishing_needs_all_images(tmp_path: Path, format: str) -> None:
    request = make_request(format=format)
    store = request.open(tmp_path)
    store.write([], pictures(request, []))
    store.write([4, 0], pictures(request, [4, 0]))
    for act in (store.finish, store.images, lambda: read_samples(tmp_path)):
        with pytest.raises(DataError, match="2 of 5 images" if act != store.images else "no such"):
            act()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    request = make_request()
    store = request.open(tmp_path / "png")
    store.write(range(5), pictures(request, range(5)))
    path = tmp_path / "png" / "cat-00002.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"delete them, then run the same[\s\S]*cat-00002.png: damaged"):
        store.images()
    small = make_request(5, height=2, width=2)
    draw(tmp_path / "small", small)
    for name in file_names(CLASSES, request.plan.labels):
        (tmp_path / "png" / name).write_bytes((tmp_path / "small" / name).read_bytes())
    with pytest.raises(DataError, match=r"\(5, 3, 2, 2\), but its manifest says \(5, 3, 4, 3\)"):
        store.images()


def test_images_that_are_not_those_of_the_plan(tmp_path: Path) -> None:
    request = make_request()
    store = request.open(tmp_path)
    images = pictures(request, [0, 1])
    for wrong in (images[:1], images[:, :, 1:], images.float()):
        with pytest.raises(DataError, match=r"images must be uint8 \(2, 3, 4, 3\), but are"):
            store.write([0, 1], wrong)
    assert list(tree(tmp_path)) == ["manifest.json"]


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    request = make_request(format="npz")
    draw(tmp_path, request)
    whole = tree(tmp_path)
    for content in (whole["samples.npz"][:-30], b"", b"<html>" * 99):
        (tmp_path / "samples.npz").write_bytes(content)
        for read in (lambda: read_samples(tmp_path), request.open(tmp_path, is_main=False).images):
            with pytest.raises(DataError, match=r"samples.npz is not a sound file.*delete it, then run the same"):
                read()
    (tmp_path / "samples.npz").unlink()
    draw(tmp_path, request)
    assert tree(tmp_path) == whole


@pytest.mark.parametrize("changes", range(8))
@FORMATS
def test_a_full_disk(tmp_path: Path, format: str, changes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever cannot be written (manifest, image, archive, grid): one sentence, and what was written stays."""
    request = make_request(2, format=format)
    replace, left = os.replace, iter(range(changes))

    def full(*arguments: Any) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*arguments)

    nr_writes = 5 if format == "png" else 6  # two manifests, two images, the grid, and the archive
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        if changes < nr_writes:
            with pytest.raises(DataError, match=r"No space left on device.*make room"):
                draw(tmp_path, request, batch_size=1)
        else:
            draw(tmp_path, request, batch_size=1)
    if 3 <= changes < nr_writes:
        manifest = read_manifest(tmp_path)
        assert manifest is not None
        assert drawn_images(tmp_path, manifest) == {0, 1}
    draw(tmp_path, request)
    assert torch.equal(read_samples(tmp_path)[0].images, pictures(request, range(2)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(place)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    request = make_request(60)
    with pytest.raises(DataError, match=r"No space left on device.*make room"):
        draw(small_disk / "out", request)
    assert 0 < len(request.plan) - len(request.open(small_disk / "out").missing()) < 60


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_that_cannot_be_written_to(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"{out} cannot be written to .*`out`"):
        make_request().open(tmp_path / out)
    draw(tmp_path / "folder", make_request())
    (tmp_path / "folder" / "grid.png").unlink()
    (tmp_path / "folder" / "grid.png").mkdir()
    with pytest.raises(ConfigError, match=r"grid.png cannot be replaced"):
        make_request().open(tmp_path / "folder", overwrite=True)


def test_two_commands_do_not_fill_one_folder_at_a_time(tmp_path: Path) -> None:
    first = make_request().open(tmp_path)
    with pytest.raises(ConfigError, match="another cpixelcnn sample is writing to"):
        make_request().open(tmp_path, overwrite=True)
    assert make_request().open(tmp_path, is_main=False).missing() == [0, 1, 2, 3, 4]
    first.close()
    second = make_request().open(tmp_path)
    del second  # without being closed
    third = make_request().open(tmp_path)
    third.write(range(5), pictures(make_request(), range(5)))
    third.finish()
    assert make_request().open(tmp_path).missing() == []


def test_the_others_wait_for_what_the_leader_prepares(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same options"):
        make_request().open(tmp_path, is_main=False)
    leader = make_request().open(tmp_path)
    with pytest.raises(ConfigError, match="same options"):
        make_request(4).open(tmp_path, is_main=False)
    assert list(tree(tmp_path)) == ["manifest.json"]
    leader.close()


WRITER = """
import torch
from cpixelcnn.config import DataConfig, ModelConfig
from cpixelcnn.sampling.folder.manifest import Origin
from cpixelcnn.sampling.folder.store import SampleStore
from cpixelcnn.sampling.plan import plan_samples

config = ModelConfig(classes=("a", "b"), image_height=4, image_width=4)
plan, origin = plan_samples(config, [i % 2 for i in range(31)]), Origin("m", "0", DataConfig())
for format in ("png", "npz"):
    store = SampleStore.open(place / format, plan, origin, format=format, is_main=first < 0)
    mine = range(first, 31, 3) if first >= 0 else []
    for start in range(0, len(mine), 2):
        some = mine[start : start + 2]
        store.write(some, torch.stack([torch.full((3, 4, 4), i, dtype=torch.uint8) for i in some]))
    if first < 0:
        store.close()
"""


def test_several_processes_write_at_a_time(nursery: ForkServerContext, tmp_path: Path) -> None:
    def start(first: int) -> BaseProcess:
        process = nursery.Process(target=exec, args=(WRITER, {"place": tmp_path, "first": first}))
        process.start()
        return process

    for parts in ([-1], [0, 1, 2]):
        writers = [start(first) for first in parts]
        for writer in writers:
            writer.join(100)
        assert [writer.exitcode for writer in writers] == [0] * len(writers)
    config = ModelConfig(classes=("a", "b"), image_height=4, image_width=4)
    plan, origin = plan_samples(config, [i % 2 for i in range(31)]), Origin("m", "0", DataConfig())
    for format in ("png", "npz"):
        store = SampleStore.open(tmp_path / format, plan, origin, format=format)
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


def test_odd_classes_many_images_and_an_unknown_format(tmp_path: Path) -> None:
    classes = ("../../x", "a/b", ".", " ", "猫" * 100, "[red]", os.fsdecode(b"\xff"), "-c")
    draw(tmp_path / "odd", make_request(classes=classes, labels=tuple(range(8)), seeds=tuple(range(8))))
    assert read_samples(tmp_path / "odd")[0].classes == classes
    assert len(list((tmp_path / "odd").iterdir())) == 10
    assert file_names(("a",), [0] * 100_001)[-1] == "a-100000.png"
    assert file_names(("a",), [0] * 100_001)[0] == "a-00000.png", "the same in a folder of more"
    with pytest.raises(ConfigError, match="but is 'jpg'"):
        make_request(format="jpg").open(tmp_path / "jpg")
    assert not (tmp_path / "jpg").exists()


def test_overviews_are_no_samples(tmp_path: Path) -> None:
    """Neither for the reader of samples nor for who looks for images."""
    request = make_request()
    draw(tmp_path, request)
    store = request.open(tmp_path)
    store.write_picture(STRIP, np.zeros((3, 3, 3), np.uint8))
    assert {path.name for path in find_images(tmp_path)} == {entry.file for entry in store.manifest.entries}
    assert len(read_samples(tmp_path)[0]) == 5
    assert (tmp_path / MANIFEST).exists()
