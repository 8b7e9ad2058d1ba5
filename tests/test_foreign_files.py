"""The one way in for files of foreign origin: the content, or an error that says why not, in bounded time and space."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.errors import DataError
from cpixelcnn.foreign_files import (
    DEEPEST,
    MissingFileError,
    UnreadableFileError,
    parse_json,
    read_arrays,
    read_bytes,
    read_json,
    read_json_object,
    read_pickled,
    read_safetensors_header,
    read_text,
)

SOMEWHERE = Path("somewhere")


def test_the_error_passes_for_one_of_data_and_one_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        read_bytes(tmp_path / "absent")
    assert isinstance(caught.value, DataError) and isinstance(caught.value, FileNotFoundError)
    assert str(caught.value) == f"{tmp_path / 'absent'} cannot be read (it does not exist)"
    assert caught.value.strerror == caught.value.reason == "it does not exist"


@pytest.mark.timeout(20)
def test_only_regular_files_are_opened_and_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("pipe", "link", "/dev/zero", "/dev/tty", "socket", ".", "x" * 300, "a\0b", "pipe/below"):
            with pytest.raises(UnreadableFileError):
                read_bytes(tmp_path / name)
    assert read_bytes(Path("/proc/self/status")), "its size is said to be 0"


def test_a_size_is_looked_at_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFileError, match="1099511627776 bytes are more than 1048576"):
            read_bytes(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(UnreadableFileError, match="more than 10 bytes"):
        read_bytes(Path("/proc/self/status"), 10)


def test_a_disk_that_fails_is_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()

    class Failing(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdopen", lambda descriptor, _: os.close(descriptor) or Failing())
    with pytest.raises(UnreadableFileError, match="Input/output error"):
        read_bytes(tmp_path / "file")


def test_text_and_json(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf" + '{"ü": [1, 2.5, null]}'.encode())
    assert read_json_object(path) == {"ü": [1, 2.5, None]}
    path.write_text("[]")
    assert read_json(path) == []
    with pytest.raises(UnreadableFileError, match="no JSON object"):
        read_json_object(path)
    path.write_bytes(b"ab\xff")
    with pytest.raises(UnreadableFileError, match="not UTF-8 at byte 2"):
        read_text(path)


@pytest.mark.parametrize("pair", ["[]", "{}"])
@pytest.mark.parametrize("depth", [DEEPEST + 2, 500, 100_000])
def test_nested_json(pair: str, depth: int) -> None:
    text = "[" * depth if pair == "[]" and depth > 1000 else ('{"a":' if pair == "{}" else "[") * depth
    if depth < 1000:
        text += "1" + pair[1] * depth
    with pytest.raises(UnreadableFileError, match="levels deep"):
        parse_json(text, SOMEWHERE)


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "[Infinity]", "-Infinity", "1e999", '{"a": [-1e400]}', "9" * 5000, '"\\ud800"', '{"\\udbff": 1}'],
)
def test_what_no_program_of_ours_writes(text: str) -> None:
    with pytest.raises(UnreadableFileError, match="somewhere cannot be read"):
        parse_json(text, SOMEWHERE)


def test_names_that_are_not_utf8_survive() -> None:
    name = os.fsdecode(b"caf\xe9")
    assert parse_json(json.dumps([name]), SOMEWHERE) == [name]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_other_json_is_what_it_is(value: object) -> None:
    assert parse_json(json.dumps(value), SOMEWHERE) == value


def header(document: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(kind: object = "F32", shape: object = (2,), span: object = (0, 8)) -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": span}


def test_the_header_of_a_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    document = {"__metadata__": {"a": "b"}, "x": entry(), "y": entry("U8", [], [8, 9]), "z": entry("F32", [0], [9, 9])}
    path.write_bytes(header(document, bytes(9)))
    metadata, tensors = read_safetensors_header(path)
    assert metadata == {"a": "b"}
    assert tensors == {"x": ("F32", (2,)), "y": ("U8", ()), "z": ("F32", (0,))}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\2",
        header({}, length=1 << 63),
        header({}, length=100),
        header({}, length=0),
        header(b"[" * 10_000),
        header([]),
        header({"__metadata__": {"a": 1}}),
        header({"__metadata__": []}),
        header({"x": 1}, bytes(8)),
        header({"x": {"dtype": "F32"}}, bytes(8)),
        header({"x": entry(shape=2)}, bytes(8)),
        header({"x": entry(shape=[2.0])}, bytes(8)),
        header({"x": entry(shape=[True, 2])}, bytes(8)),
        header({"x": entry(shape=[-1, -2])}, bytes(8)),
        header({"x": entry(shape=[10**30, 0], span=[0, 0])}),
        header({"x": entry(shape=[3])}, bytes(8)),
        header({"x": entry("F8_E4M3", [8])}, bytes(8)),
        header({"x": entry(["F32"])}, bytes(8)),
        header({"x": entry(span=[0])}, bytes(8)),
        header({"x": entry(span=[0, 8, 9])}, bytes(8)),
        header({"x": entry()}, bytes(7)),
        header({"x": entry()}, bytes(9)),
        header({"x": entry(span=[1, 9])}, bytes(9)),
        header({"x": entry(), "y": entry(span=[4, 12])}, bytes(12)),
    ],
)
def test_headers_that_do_not_suit_their_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UnreadableFileError):
        read_safetensors_header(tmp_path / "file")


def test_arrays(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "file", a=np.arange(3), b=np.float64(2), c=np.array([{}], dtype=object))
    arrays = read_arrays(tmp_path / "file.npz", ("a", "b", "absent"), most_bytes=10_000)
    assert sorted(arrays) == ["a", "b"]
    assert arrays["a"].tolist() == [0, 1, 2] and arrays["b"] == 2
    with pytest.raises(UnreadableFileError, match="allow_pickle"):
        read_arrays(tmp_path / "file.npz", ("c",), most_bytes=10_000)


def test_archives_that_expand(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, a=np.zeros(1 << 24, np.uint8))
    assert read_arrays(path, ("a",), most_bytes=1 << 25)["a"].size == 1 << 24
    for limits in ({"most_bytes": 1 << 23}, {"most_bytes": 1 << 30, "factor": 15}):
        with pytest.raises(UnreadableFileError, match=r"its \d+ bytes would expand to 1677"):
            read_arrays(path, ("a",), **limits)


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(4,)", "(3", "()", "(-1,)", "(True,)"])
def test_an_array_that_promises_another_size(tmp_path: Path, shape: str) -> None:
    """Numpy would make room for a terabyte before it reads the first byte."""
    path, text = tmp_path / "file.npz", f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(24)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(UnreadableFileError, match="no sound npz file"):
        read_arrays(path, ("a",), most_bytes=10_000)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_compressed_in_unusual_ways(tmp_path: Path, method: int) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "file.npz", "w", compression=method) as archive:
        archive.writestr("a.npy", buffer.getvalue())
    with pytest.raises(UnreadableFileError, match="unusual"):
        read_arrays(tmp_path / "file.npz", ("a",), most_bytes=10_000)


def test_tensors_of_a_device_that_is_not_here(tmp_path: Path) -> None:
    """What was saved on the second GPU of another machine lies on the CPU here."""
    torch.save({"moment": torch.arange(5.0)}, tmp_path / "here.pt")
    with zipfile.ZipFile(tmp_path / "here.pt") as saved, zipfile.ZipFile(tmp_path / "there.pt", "w") as changed:
        for name in saved.namelist():
            content = saved.read(name)
            if name.endswith("data.pkl"):
                assert content.count(b"X\x03\0\0\0cpu") == 1
                content = content.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:1")
            changed.writestr(name, content)
    moment = read_pickled(tmp_path / "there.pt", 1 << 20)["moment"]
    assert moment.device.type == "cpu"
    assert moment.tolist() == [0, 1, 2, 3, 4]
