"""Number 2: files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cpixelcnn import storage
from cpixelcnn.storage import atomic_path, file_digest, replace_link, write_json, write_png, write_text


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(errno.ENOSPC, "full")])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "file", "old")

    def write() -> None:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(type(error) if isinstance(error, BaseException) else error):
        write()
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_failing_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, function, fail)
    if function == "replace":
        with pytest.raises(OSError, match="Input/output"):
            write_text(tmp_path / "file", "new")
    else:
        write_text(tmp_path / "file", "old")  # some file systems cannot; the file is written all the same
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_json_cannot_hold_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ü": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ü": [1, 2.5, None]}
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "a.json", {"x": bad})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["ü"] == [1, 2.5, None]


def test_json_with_a_path_that_is_not_unicode(tmp_path: Path) -> None:
    """A directory called b"\\xff" arrives from the command line as a lone surrogate."""
    write_json(tmp_path / "a.json", {"data_dir": os.fsdecode(b"\xff")})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["data_dir"] == os.fsdecode(b"\xff")


def test_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_long_and_odd_names(tmp_path: Path) -> None:
    for name in ("猫" * 80, "x" * 250, "[a] b", "-c"):
        write_text(tmp_path / name, name)
        assert (tmp_path / name).read_text(encoding="utf-8") == name


def test_links_are_replaced_in_one_step(tmp_path: Path) -> None:
    for target in ("a", "b"):
        (tmp_path / target).mkdir()
        replace_link(tmp_path / "link", target)
        assert (tmp_path / "link").resolve() == tmp_path / target
    (tmp_path / f".link.{os.getpid()}.tmp").symlink_to("gone")  # left by a process that was killed
    replace_link(tmp_path / "link", "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "link"]


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
def test_pictures(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write_png(tmp_path / "picture", pixels)  # PNG whatever its name
    with Image.open(tmp_path / "picture") as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), pixels)
    assert storage.__doc__
