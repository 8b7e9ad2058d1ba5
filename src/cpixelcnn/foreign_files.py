"""The one way in for files of foreign origin: runs, weights, settings and statistics that somebody else may have made.

Whatever such a file holds, reading it takes bounded time and memory, runs nothing, and ends in the content or in an
`UnreadableFileError`, which callers turn into their own error:

- only regular files are opened, and without waiting: no pipe, device, socket or folder;
- a file has a largest size, and so has what an archive expands to;
- JSON has a largest depth, its numbers are finite, and its text can be encoded;
- the types of what it holds are checked by `cpixelcnn.typed_json`.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpixelcnn.errors import DataError, first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOCUMENT_BYTES = 1 << 20  # of a document: a run's configuration has 1,500
LOG_BYTES = 1 << 26  # of a log: 200 bytes an epoch
WEIGHT_BYTES = 1 << 32  # of a file of weights or of a trainer's state; the published network's has 212 million
DEEPEST = 32  # arrays and objects within each other; what cpixelcnn writes has 4
_HEADER_BYTES = 1 << 23  # of a safetensors file: 80 bytes a tensor
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


class UnreadableFileError(DataError, OSError):
    """A file that cannot be read as what it should be. An OSError, too, so that it passes for any failure to read.

    Attributes:
        path: the file.
        reason: what is wrong with it, a few words.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read ({reason})")
        self.path = path
        self.reason = self.strerror = reason


class MissingFileError(UnreadableFileError, FileNotFoundError):
    """There is no file of that name."""


def open_regular(path: Path, most_bytes: int) -> BufferedReader:
    """Open a file for reading in binary, without waiting for it.

    Raises:
        UnreadableFileError: it is missing, may not be read, is not a regular file, or has more than `most_bytes`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise MissingFileError(path, "it does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UnreadableFileError(path, getattr(error, "strerror", None) or first_line(error)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise UnreadableFileError(path, f"it is {kind}, not a file")
        if status.st_size > most_bytes:
            raise UnreadableFileError(path, f"its {status.st_size} bytes are more than {most_bytes}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, most_bytes: int = DOCUMENT_BYTES) -> bytes:
    """The content of a file.

    Raises:
        UnreadableFileError: see `open_regular`.
    """
    with open_regular(path, most_bytes) as file:
        try:
            content = file.read(most_bytes + 1) or b""  # files of the kernel have more than their size says
        except OSError as error:
            raise UnreadableFileError(path, error.strerror or first_line(error)) from None
    if len(content) > most_bytes:
        raise UnreadableFileError(path, f"it has more than {most_bytes} bytes")
    return content


def read_text(path: Path, most_bytes: int = DOCUMENT_BYTES) -> str:
    """The content of a file in UTF-8, with or without a byte order mark.

    Raises:
        UnreadableFileError: see `open_regular`; or it is not UTF-8.
    """
    try:
        return read_bytes(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(path, f"it is not UTF-8 at byte {error.start}") from None


def read_json(path: Path, most_bytes: int = DOCUMENT_BYTES) -> Any:
    """The value of a JSON file.

    Raises:
        UnreadableFileError: see `read_text` and `parse_json`.
    """
    return parse_json(read_text(path, most_bytes), path)


def read_json_object(path: Path, most_bytes: int = DOCUMENT_BYTES) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        UnreadableFileError: see `read_json`; or it holds something else.
    """
    document = read_json(path, most_bytes)
    if not isinstance(document, dict):
        raise UnreadableFileError(path, "it holds no JSON object")
    return document


def parse_json(text: str | bytes, source: Path) -> Any:
    """The value of JSON text that comes from the file `source`.

    Raises:
        UnreadableFileError: it is not JSON, is nested too deeply, or holds a number that is not finite or text that is
            none.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise UnreadableFileError(source, f"its JSON is more than {DEEPEST} levels deep") from None
    except ValueError as error:
        raise UnreadableFileError(source, f"it is not JSON: {first_line(error, 100)}") from None
    level = [value]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.keys()
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, float) and not math.isfinite(each):
                raise UnreadableFileError(source, "it holds a number that is not finite")
            elif isinstance(each, str) and not _is_text(each):
                raise UnreadableFileError(source, "it holds half of a character")
        if not below:
            return value
        level = below
    raise UnreadableFileError(source, f"its JSON is more than {DEEPEST} levels deep")


def read_safetensors_header(path: Path) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...]]]]:
    """What a safetensors file says of itself: its metadata, and type ("F32") and shape of each tensor by name.

    The sizes of the tensors are compared with each other and with the file's; nothing of them is read.

    Raises:
        UnreadableFileError: see `open_regular`; or the header is damaged, or does not suit the file.
    """
    with open_regular(path, WEIGHT_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, _HEADER_BYTES):
            raise UnreadableFileError(path, "it has no header of safetensors")
        header = parse_json(file.read(length), path)
    if not isinstance(header, dict):
        raise UnreadableFileError(path, "its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UnreadableFileError(path, "its metadata are not text")
    tensors = {name: _tensor_entry(path, entry) for name, entry in header.items()}
    spans = sorted(entry["data_offsets"] for entry in header.values())
    ends = [0, *(end for _, end in spans)]
    if [start for start, _ in spans] != ends[:-1] or ends[-1] != size - 8 - length:
        raise UnreadableFileError(path, "the sizes in its header are not that of the file")
    return metadata, tensors


def array_names(path: Path) -> list[str]:
    """The names of the arrays of an npz file.

    Raises:
        UnreadableFileError: see `open_regular`; or it is damaged.
    """
    with open_regular(path, WEIGHT_BYTES) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return [name.removesuffix(".npy") for name in archive.namelist()]
        except Exception as error:  # zipfile raises whatever it likes on a damaged or hostile file
            raise UnreadableFileError(path, f"it is no sound npz file: {first_line(error, 120)}") from None


def read_arrays(
    path: Path, names: Sequence[str], *, most_bytes: int, factor: int | None = None
) -> dict[str, NDArray[Any]]:
    """Those of these arrays that an npz file has; objects are never unpickled.

    Args:
        path: the file.
        names: of the arrays; others are not read.
        most_bytes: the largest size of the file, and of all that is in it.
        factor: how many times as large as the file (or as 1 MiB, if it is smaller) its content may be besides.

    Raises:
        UnreadableFileError: see `open_regular`; or it is damaged, expands to more, or an array is of another size than
            it says.
    """
    import numpy as np

    with open_regular(path, most_bytes) as file:
        try:
            size = max(os.fstat(file.fileno()).st_size, 1 << 20)
            check_expansion(file, most_bytes if factor is None else min(most_bytes, factor * size))
            with zipfile.ZipFile(file) as archive:
                members = {member.filename: member for member in archive.infolist()}
                found = {name: members[f"{name}.npy"] for name in names if f"{name}.npy" in members}
                for name, member in found.items():
                    _check_array(archive, member, name)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: np.asarray(arrays[name]) for name in found}
        except Exception as error:  # numpy, zipfile and zlib raise whatever they like on a damaged or hostile file
            raise UnreadableFileError(path, f"it is no sound npz file: {first_line(error, 120)}") from None


def read_pickled(path: Path, most_bytes: int) -> Any:
    """What `torch.save` wrote: plain types and tensors, which lie on the CPU. Nothing in the file is run.

    A tensor may be larger than its memory (a stride of 0 makes any number of numbers out of one), so compare its shape
    before its numbers are looked at.

    Args:
        path: the file.
        most_bytes: the largest size of the file; what it expands to may be twice as large.

    Raises:
        UnreadableFileError: see `open_regular`; or it is damaged, expands to more, or holds anything else.
    """
    import torch

    with open_regular(path, most_bytes) as file:
        try:
            if zipfile.is_zipfile(file):
                check_expansion(file, 2 * most_bytes)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # whose text is about an argument that nobody here has given
            raise UnreadableFileError(path, "it is damaged, or holds more than tensors and plain types") from None
        except Exception as error:  # a damaged or hostile file can make the unpickler raise anything
            raise UnreadableFileError(path, f"{type(error).__name__}: {first_line(error)}") from None


def check_expansion(file: BufferedReader, most_bytes: int) -> None:
    """Refuse a zip archive that expands to more than so many bytes, or is compressed in unusual ways.

    Raises:
        ValueError: it does.
        zipfile.BadZipFile: it is none.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    expanded = sum(member.file_size for member in members)
    if expanded > most_bytes:
        raise ValueError(f"its {os.fstat(file.fileno()).st_size} bytes would expand to {expanded}")
    if any(member.compress_type not in (_STORED, _DEFLATED) for member in members):
        raise ValueError("it is compressed in an unusual way")
    file.seek(0)


_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def _tensor_entry(path: Path, entry: Any) -> tuple[str, tuple[int, ...]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise UnreadableFileError(path, "its header describes no tensor")
    kind, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    sizes = [*shape, *span] if isinstance(shape, list) and isinstance(span, list) else [None]
    if not all(type(size) is int and 0 <= size <= WEIGHT_BYTES for size in sizes) or len(span) != 2:
        raise UnreadableFileError(path, "its header has sizes that are none")
    if not isinstance(kind, str) or kind not in _BYTES:
        raise UnreadableFileError(path, f"its numbers are of the type {str(kind)[:40]}")
    if math.prod(shape) * _BYTES[kind] != span[1] - span[0]:
        raise UnreadableFileError(path, "a shape in its header does not suit the size of the tensor")
    return kind, tuple(shape)


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    """Refuse an array whose header promises more than the archive holds of it: numpy would make room for it."""
    import numpy as np

    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, kind = read_header(content)
        if kind.hasobject:
            return  # numpy refuses it
        if math.prod(shape) * kind.itemsize != member.file_size - content.tell():
            raise ValueError(f"{name} is of another size than its header says")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _is_text(text: str) -> bool:
    """Whether text can be written: all of it, and file names that are not UTF-8, but no half of another character."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
