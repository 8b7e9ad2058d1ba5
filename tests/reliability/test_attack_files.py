"""Images, archives, lists and documents that somebody made to do harm, each given to the commands that read it.

``pytest -m slow -n 0 -s tests/reliability/test_attack_files.py`` prints how often each kind ended with which exit
code. Files that are cut or filled at random are others for another CPIXELCNN_ATTACK_SEED.
"""

from __future__ import annotations

import functools
import io
import json
import lzma
import os
import pickle
import random
import shutil
import socket
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cpixelcnn.fid import features
from cpixelcnn.runs import models
from cpixelcnn.storage import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1-run.tar.gz"
WEIGHTS = Path("run/checkpoints/step-00000010/ema.safetensors")
SEED = int(os.environ.get("CPIXELCNN_ATTACK_SEED", "0"))
Content = bytes | Callable[[Path], object]
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[tuple[str, int]]]:
    """How often commands ended with which exit code, by kind of file."""
    counted: Counter[tuple[str, int]] = Counter()
    yield counted
    for (kind, code), number in sorted(counted.items()):
        print(f"{kind:30} exit code {code}: {number:4}")
    print(f"{'all':30} {counted.total():17}")


@pytest.fixture(autouse=True)
def run(alone: None) -> None:
    """A run and a few sound images in the working directory."""
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(".", filter="data")
    Path("images").mkdir()
    for number in range(3):
        picture(8, 8, number).save(f"images/sound-{number}.png")


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def later(make: Callable[[], bytes]) -> Callable[[Path], object]:
    """A file of these bytes, which take so long to make that only the test that needs them does."""
    return lambda path: path.write_bytes(make())


def put(path: Path, content: Content) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


# Things that are no files -----------------------------------------------------------------------------------------


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def swarm(path: Path) -> None:
    """A link to a link to a link, forty times and more."""
    for number in range(60):
        Path(f"{path}.{number}.link").symlink_to(f"{path.name}.{number + 1}.link")
    path.symlink_to(f"{path.name}.0.link")


NO_FILES: dict[str, Content] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": bind,
    "4 TB of nothing": sparse,
    "an endless device": link("/dev/zero"),
    "a full device": link("/dev/full"),
    "a terminal": link("/dev/tty"),
    "standard input": link("/dev/stdin"),
    "memory": link("/proc/self/mem"),
    "a file without a size": link("/proc/self/maps"),
    "nothing": link("nowhere"),
    "itself": lambda path: path.symlink_to(path.name),
    "sixty links": swarm,
    "the folder above": link(".."),
}

OTHERS = [f"it is {what}" for what in NO_FILES]


def pick(cases: Mapping[str, Content], case: str) -> Content:
    return cases[case] if case in cases else NO_FILES[case.removeprefix("it is ")]


# Images -----------------------------------------------------------------------------------------------------------


def png(width: int, height: int, *chunks: tuple[bytes, bytes], bits: int = 8, colour: int = 2, crc: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, bits, colour, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        body += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ crc)
    return body


def rows(width: int, height: int, byte: bytes = b"\x80") -> tuple[bytes, bytes]:
    """The pixels of an RGB image."""
    return b"IDAT", zlib.compress((b"\0" + byte * 3 * width) * height)


@functools.cache
def zeros(megabytes: int) -> bytes:
    """So many megabytes of zeros, compressed."""
    return zlib.compress(bytes(megabytes << 20), 1)


def saved(form: str, mode: str = "RGB", size: tuple[int, int] = (9, 7), **options: Any) -> bytes:
    buffer = io.BytesIO()
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray((np.arange(63).reshape(7, 9) * 1000).astype(kind))
    else:
        image = picture(*size).convert(mode)
    image.save(buffer, form, **options)
    return buffer.getvalue()


def cut(form: str, number: int) -> bytes:
    whole = saved(form, size=(40, 30))
    return whole[: random.Random(f"{SEED} {form} {number}").randrange(1, len(whole))]


def filled(form: str, number: int) -> bytes:
    """Random bytes behind a sound beginning."""
    chance = random.Random(f"{SEED} {form} {number} filled")
    whole = saved(form, size=(40, 30))
    return whole[: chance.randrange(8, 60)] + chance.randbytes(500)


def tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A TIFF of these tags (number, type, count, value), and where the next directory lies."""
    body = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return body + b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", following) + bytes(64)


def bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + 100, 0, 0, 54) + header + bytes(100)


def jpeg(width: int, height: int) -> bytes:
    whole = saved("JPEG", size=(16, 16))
    place = whole.index(b"\xff\xc0")
    return whole[: place + 5] + struct.pack(">HH", height, width) + whole[place + 9 :]


def frames(count: int) -> bytes:
    buffer = io.BytesIO()
    pictures = [picture(8, 8, number) for number in range(count)]
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], loop=0)
    return buffer.getvalue()


TAGS = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 4, 1, 8)]
FORMS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM")
IMAGES: dict[str, Content] = {
    **{f"cut {form} {number}": cut(form, number) for form in FORMS for number in range(2)},
    **{f"{form} with random bytes": filled(form, 0) for form in FORMS},
    **{f"PNG of mode {mode}": saved("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")},
    **{f"TIFF of mode {mode}": saved("TIFF", mode) for mode in ("CMYK", "YCbCr", "LAB", "F", "I;16", "I", "1", "PA")},
    **{f"JPEG of mode {mode}": saved("JPEG", mode) for mode in ("L", "CMYK")},
    "PNG of 2^31 pixels a side": png(2**31 - 1, 2**31 - 1),
    "PNG of -1 pixels": png(-1, -1, rows(1, 1)),
    "PNG of no pixels": png(0, 0, rows(0, 0)),
    "PNG of 9,999 by 9,999 in 100 kB": later(lambda: png(9999, 9999, (b"IDAT", zeros(96)), bits=8, colour=0)),
    "PNG of 7 bits": png(4, 4, rows(4, 4), bits=7),
    "PNG of colour 5": png(4, 4, rows(4, 4), colour=5),
    "PNG with wrong checksums": png(4, 4, rows(4, 4), crc=1),
    "PNG with too few rows": png(4, 400, rows(4, 4)),
    "PNG with too many rows": png(4, 4, rows(4, 40_000)),
    "PNG without a palette": png(4, 4, rows(4, 4), colour=3),
    "PNG with a short palette": png(4, 4, (b"PLTE", b"\1\2\3"), rows(4, 4, b"\xff"), colour=3),
    "PNG with a text of 70 MB": later(lambda: png(4, 4, (b"zTXt", b"a\0\0" + zeros(70)), rows(4, 4))),
    "PNG with a profile of 70 MB": later(lambda: png(4, 4, (b"iCCP", b"a\0\0" + zeros(70)), rows(4, 4))),
    "PNG with an odd rotation": png(4, 4, (b"eXIf", b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0"), rows(4, 4)),
    "PNG with an endless EXIF": png(4, 4, (b"eXIf", b"II*\0\x08\0\0\0\xff\xff"), rows(4, 4)),
    "PNG of 2^31 frames": png(4, 4, (b"acTL", struct.pack(">II", 2**31 - 1, 0)), rows(4, 4)),
    "PNG with 20,000 chunks": later(lambda: png(4, 4, *[(b"teXt", b"a\0b")] * 20_000, rows(4, 4))),
    "PNG of one row of 30,000": png(30_000, 1, rows(30_000, 1)),
    "PNG and a zip": png(4, 4, rows(4, 4)) + b"PK\5\6" + bytes(18),
    "JPEG of 65,535 pixels a side": jpeg(65_535, 65_535),
    "JPEG of no height": jpeg(16, 0),
    "JPEG of 9,000 pixels a side in 1 kB": jpeg(9_000, 9_000),
    "JPEG with 5,000 comments": saved("JPEG")[:2] + b"\xff\xfe\0\4ab" * 5_000 + saved("JPEG")[2:],
    "GIF of 65,535 pixels a side": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\1\0\0;",
    "GIF of 300 frames": later(lambda: frames(300)),
    "GIF without frames": b"GIF89a\4\0\4\0\0\0\0;",
    "WEBP of 2^24 pixels a side": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff" * 6 + bytes(8),
    "TIFF whose directories go in a circle": tiff(*TAGS, following=8),
    "TIFF whose pixels lie elsewhere": tiff(*TAGS, (273, 4, 1, 2**31), (279, 4, 1, 64)),
    "TIFF of 2^32 strips": tiff(*TAGS, (273, 4, 2**32 - 1, 8), (279, 4, 2**32 - 1, 8)),
    "TIFF of 100,000 bits": tiff(*TAGS[:2], (258, 3, 100_000, 8), *TAGS[3:]),
    "TIFF of 65,535 pixels a side": tiff((256, 4, 1, 65_535), (257, 4, 1, 65_535), *TAGS[2:], (273, 4, 1, 8)),
    "TIFF without tags": tiff(),
    "BMP of -1 pixels": bmp(-1, 4),
    "BMP of -2^31 rows": bmp(4, -(2**31)),
    "BMP of 0 bits": bmp(4, 4, bits=0),
    "BMP packed": bmp(9_000, 9_000, bits=8, compression=1),
    "PPM of 2^31 pixels": b"P6 2147483647 2147483647 255\n",
    "PPM with a number of 10^6 digits": b"P6 " + b"9" * 10**6 + b" 1 255\n",
    "PPM of no brightness": b"P5 2 2 0\n\0\0\0\0",
    "PPM of text": b"P3 2 1 255\n1 2 3 -4 x 6\n",
    "PFM that is not finite": b"Pf 1 1 -1.0\n\0\0\xc0\x7f",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(owned) (w) file closefile\nshowpage\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
    "icon": saved("ICO", size=(16, 16)),
    "web page": b"<!DOCTYPE html><p>Not found",
    "empty": b"",
    "zeros": bytes(100_000),
}  # fmt: skip
NAMES = [
    b"\xff\xfe.png", b"a\nerror: b.png", b"\x1b]52;c;aGk=\x07.png", "\u202egnp.exe.png".encode(), b"x" * 251 + b".png",
    b"-rf.png", b"[a].png", b"$(touch owned).png", b" .png", b"%s%n.png", "\u0130\u0131\u1e9e.PNG".encode(),
]  # fmt: skip


@pytest.mark.parametrize("case", [*IMAGES, *OTHERS])
def test_an_image(cli: Cli, unharmed: Any, counts: Counter[Any], case: str) -> None:
    """Every other image of its folder is classified, and this one is too or is told of."""
    path = Path("images/hostile.png")
    put(path, pick(IMAGES, case))
    outcome = cli("classify", "images", "--model", "run", "--json")
    unharmed(outcome, {0, 3})
    document = outcome.document
    told = {Path(each["path"]).name for each in [*document["results"], *document["errors"]]}
    assert {f"sound-{number}.png" for number in range(3)} <= {Path(each["path"]).name for each in document["results"]}
    assert "hostile.png" in told or case == "it is the folder above"
    assert not Path("owned").exists()
    counts["image", outcome.code] += 1
    outcome = cli("sample", "--complete", path, "--from-row", 7, "--model", "run", "--out", "out")
    unharmed(outcome, {0, 3})
    counts["image to complete", outcome.code] += 1


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_the_name_of_an_image(cli: Cli, unharmed: Any, counts: Counter[Any], name: bytes) -> None:
    shutil.copy("images/sound-0.png", os.path.join(b"images", name))
    outcome = cli("classify", "images", "--model", "run", "--csv", "out.csv")
    unharmed(outcome, {0})
    assert not Path("owned").exists()
    assert Path("out.csv").read_bytes().count(b"sound-") == 3
    counts["name of an image", outcome.code] += 1


# Archives of arrays ------------------------------------------------------------------------------------------------


def npy(
    kind: str = "|u1", shape: object = (2, 8, 8, 3), data: bytes = bytes(384), version: int = 1, **more: Any
) -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape, **more})
    return header(text, data, version)


def header(text: str, data: bytes = bytes(384), version: int = 1) -> bytes:
    line = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(line)) + line + data


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def forged(content: bytes, field: int, value: bytes) -> bytes:
    """An archive whose central directory has another value at that place of its first entry."""
    place = content.index(b"PK\1\2") + field
    return content[:place] + value + content[place + len(value) :]


class _Bomb:
    """What is unpickled makes a folder."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("owned",)


OBJECTS = "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
SOUND = {
    "samples": {"arr_0": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.zeros(2, np.int64)},
    "statistics": {"mu": np.zeros(3), "sigma": np.eye(3), "n": np.int64(9)},
}
FIRST = {"samples": "arr_0", "statistics": "mu"}


def arrays(kind: str, **changes: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**SOUND[kind], **changes})
    return buffer.getvalue()


def of_full_size(**changes: Any) -> Content:
    """Statistics of as many dimensions as the features that they are compared with."""
    whole = {"mu": np.zeros(1280), "sigma": np.eye(1280), "n": np.int64(9), **changes}
    return lambda path: np.savez(path, **whole)


def hostile_archives(kind: str) -> dict[str, Content]:
    """What can be done to any archive whose first array is of that name."""
    whole, first = arrays(kind), FIRST[kind]
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    chance = random.Random(f"{SEED} {kind}")

    def with_first(content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
        return archive({**members, f"{first}.npy": content}, compression)

    return {
        **{f"cut {number}": whole[: chance.randrange(1, len(whole))] for number in range(3)},
        "empty": b"",
        "four letters": b"PK\3\4",
        "an array alone": members[f"{first}.npy"],
        "another archive": lzma.compress(whole),
        "no members": archive({}),
        "20,000 members": later(
            lambda: archive({f"{number}.npy": b"" for number in range(20_000)}, zipfile.ZIP_STORED)),
        "members outside": archive({f"../{name}": content for name, content in members.items()}),
        "an archive in it": archive({f"{first}.npy": whole}),
        "bytes before it": b"#!/bin/sh\n" * 9 + whole,
        "a long comment": whole[:-2] + b"\xff\xff" + bytes(65_535),
        "encrypted": forged(whole, 8, b"\1\0"),
        "a compression that there is not": forged(whole, 10, b"\x63\0"),
        "packed by LZMA": with_first(members[f"{first}.npy"], zipfile.ZIP_LZMA),
        "packed by bzip2": with_first(members[f"{first}.npy"], zipfile.ZIP_BZIP2),
        "2^32 bytes, it says": forged(whole, 24, b"\xff" * 4),
        "another checksum": forged(whole, 16, b"abcd"),
        "a place that there is not": forged(whole, 42, b"\xfe" * 4),
        "100 MB of zeros": later(lambda: with_first(npy(shape=(10**6, 10, 10, 1), data=bytes(10**8)))),
        "objects": with_first(header(OBJECTS, pickle.dumps([_Bomb()]))),
        "a pickle alone": with_first(pickle.dumps(_Bomb())),
        "a header that does something": with_first(header("__import__('os').mkdir('owned')")),
        "a header of 5 MB": later(lambda: with_first(header("(" * 5_000_000, version=2))),
        "a header of brackets": with_first(header("[" * 9_000 + "]" * 9_000, version=2)),
        "a header without an end": with_first(b"\x93NUMPY\1\0\xff\xff{'descr'"),
        "a header of another kind": with_first(header("['descr']")),
        "a header with more": with_first(npy(more=1)),
        "version 9": with_first(npy(version=9)),
        **{f"the shape {str(shape)[:20]}": with_first(npy(shape=shape)) for shape in (
            (-1, 8, 8, 3), (2**62, 8, 8, 3), (2**32, 2**32), (1,) * 70, (), (0, 8, 8, 3), (384.0,), ("8",), None, 384)},
        **{f"the type {name[:12]}": with_first(npy(name, (2,), bytes(64))) for name in (
            "<U999999999", "|V16", "<M8[ns]", "<c16", "<f2", "|b1", ">i8", "<g", "|S0", "u1,(2,2)f4", "nonsense")},
        **{f"filled by {value}": arrays(kind, **{first: np.full(SOUND[kind][first].shape, value)})
           for value in (np.nan, np.inf, -1e308, 2.0**70)},
    }  # fmt: skip


ARCHIVES: dict[str, dict[str, Content]] = {
    "samples": {
        **hostile_archives("samples"),
        **{f"labels {str(labels)[:30]}": arrays("samples", labels=np.array(labels)) for labels in (
            [0], [0, 1, 2], [-2, 0], [2**62, 0], [0.5, 0], [np.nan, 0], ["a", "b"], [[0, 1]], 0)},
        **{f"images {shape}": arrays("samples", arr_0=np.zeros(shape, np.uint8)) for shape in (
            (2, 3, 8, 8), (2, 8, 8, 4), (2, 8, 8), (2, 1, 1, 3), (2, 0, 8, 3), (0, 8, 8, 3), (2, 8, 8, 3, 1))},
    },
    "statistics": {
        **hostile_archives("statistics"),
        **{f"n {str(n)[:20]}": of_full_size(n=np.array(n)) for n in (0, -1, 1.5, 2**63, [9], "9", np.nan)},
        "a matrix that is not symmetric": of_full_size(sigma=np.triu(np.ones((1280, 1280)))),
        "a matrix below zero": of_full_size(sigma=-np.eye(1280)),
        "a matrix of 1e300": of_full_size(sigma=np.eye(1280) * 1e300),
        "a mean that is not finite": of_full_size(mu=np.full(1280, np.nan)),
        "5,000 dimensions": of_full_size(mu=np.zeros(5000), sigma=np.zeros((1, 5000))),
        "features of objects": archive({"features.npy": header(OBJECTS, pickle.dumps([_Bomb()]))}),
        "features of nothing": archive({f"{name}.npy": b"" for name in ("features", "labels", "classes", "name")}),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind, cases in ARCHIVES.items() for case in [*cases, *OTHERS]],
)
def test_an_archive(
    cli: Cli, unharmed: Any, counts: Counter[Any], monkeypatch: pytest.MonkeyPatch, kind: str, case: str
) -> None:
    path = Path("hostile.npz")
    put(path, pick(ARCHIVES[kind], case))
    if kind == "samples":
        outcome = cli("eval", "--samples", path, "--model", "run")
    else:
        monkeypatch.setattr(features, "_efficientnet", network)
        outcome = cli("fid", "--samples", "images", "--features", "efficientnet-lite0", "--reference", path)
    unharmed(outcome, {0, 3})
    assert not Path("owned").exists()
    counts[f"archive of {kind}", outcome.code] += 1


_efficientnet = features._efficientnet
network = functools.cache(lambda name: _efficientnet(name))

# Lists -------------------------------------------------------------------------------------------------------------

LISTS: dict[str, Content] = {
    "zero bytes": b"validation/sound-0.png\0,0\n",
    "a zero byte alone": b"\0",
    "a field of 10 MB": b"validation/" + b"a" * 10**7 + b".png,0\n",
    "a quoted field of 10 MB": b'"' + b"a,\n" * (10**7 // 3) + b'",0\n',
    "a quote without an end": b'"validation/sound-0.png,0\n' * 3,
    "quotes in quotes": b'"""validation""/sound-0.png",0\n',
    "UTF-16": "validation/sound-0.png,0\n".encode("utf-16"),
    "UTF-32": "validation/sound-0.png,0\n".encode("utf-32"),
    "UTF-7": b"+AHYA-alidation/sound-0.png,0\n",
    "Latin 1": "validation/\xe9.png,0\n".encode("latin-1"),
    "two byte order marks": b"\xef\xbb\xbf" * 2 + b"validation/sound-0.png,0\n",
    "old line ends": b"validation/sound-0.png,0\rvalidation/sound-1.png,1\r",
    "mixed line ends": b"validation/sound-0.png,0\r\n\n\r\rvalidation/sound-1.png,1\n\r",
    "line ends of Unicode": "validation/sound-0.png,0\u2028validation/sound-1.png,1\x0b\x0c\x1c\x85".encode(),
    "empty": b"",
    "blank": b"\n" * 10_000,
    "a header alone": b"path,label\n",
    "200,000 lines": b"validation/sound-0.png,0\n" * 200_000,
    "100,000 fields": b"," * 100_000 + b"\n",
    **{f"the label {label.decode('ascii', 'replace')[:12]}": b"validation/sound-0.png," + label + b"\n" for label in (
        b"1e400", b"9" * 5000, b"-0", b"+1", b"1_0", "\u0661".encode(), b"0x1", b"1.0", b"nan", b"", b"True", b"-2",
        b"4", b"\x1b[2J")},
    **{f"the path {path.decode('utf-8', 'replace')[:12]!r}": path + b",0\n" for path in (
        b"/etc/passwd", b"../images/sound-0.png", b"validation/../../images/sound-0.png", b"C:\\x.png",
        b"\\\\host\\x.png", b"~/x.png", b"validation", b".", b"validation/sound-0.png/x", b"a" * 5000,
        b"\x1b]52;c;aGk=\x07.png", b"/dev/zero", b"validation//sound-0.png", b"file:///etc/passwd",
        b"validation/link.png", b"validation/circle.png")},
    "a circle of letters": b"validation/sound-0.png,0\nvalidation/SOUND-0.png,0\nvalidation/./sound-0.png,1\n",
}  # fmt: skip


@pytest.mark.parametrize("case", [*LISTS, *OTHERS])
def test_a_list(cli: Cli, unharmed: Any, counts: Counter[Any], case: str) -> None:
    Path("data").mkdir()
    shutil.copytree("images", "data/validation")
    Path("data/validation/link.png").symlink_to("/dev/zero")
    Path("data/validation/circle.png").symlink_to("circle.png")
    put(Path("data/validation.csv"), pick(LISTS, case))
    outcome = cli("bpd", "--model", "run", "-d", "cpen455", "-i", "data", "--split", "validation")
    unharmed(outcome, {0, 3})
    counts["list", outcome.code] += 1


# Documents ---------------------------------------------------------------------------------------------------------

CALIBRATION = {
    "temperature": 2.5, "dataset": "embedded", "split": "validation", "n_images": 30, "images": "0" * 64, "views": 1,
    "nll_before": 0.5, "nll_after": 0.5, "ece_before": 0.5, "ece_after": 0.5, "bpd_mean": 3.5, "bpd_low": 3.0,
    "bpd_high": 4.0,
}  # fmt: skip
THRESHOLD = {
    "score": "png", "threshold": 1.5, "accepted": 0.95, "typical_mean": 3.5, "dataset": "embedded",
    "split": "validation", "n_images": 50,
}  # fmt: skip
SAMPLES = {
    "manifest_version": 2, "image_channels": 3, "image_height": 8, "image_width": 8, "model": "run",
    "model_sha256": "0" * 64, "classes": ["hamburger", "panda", "koala", "pizza"], "data": {"dataset": "embedded"},
    "settings": {"temperature": 1.0}, "format": "png", "finished": True,
    "images": [{"file": "sound-0.png", "class": "panda", "label": 1, "seed": 3}],
}  # fmt: skip
METRICS = {"tiny": {"accuracy": 0.5, "bpd": 3.5, "date": "2026-01-01", "epochs": 3, "n_images": 9, "split": "test"}}
RESULTS = {"finished": True, "best_epoch": 3, "validation": {"bpd": 1.5}, "test": {"accuracy": 0.5, "bpd": 3.0}}
SETTINGS = {"model": {"nr_filters": 8}, "data": {"dataset": "folder", "data_dir": "nowhere"}, "train": {"lr": 1e-3}}

# By kind: where the document lies, a sound one, the command that reads it, and the exit codes it may end with.
Reader = tuple[str, Callable[[], object], list[object], set[int]]
CLASSIFY = ["classify", "images", "--model", "run"]
DOCUMENTS: dict[str, Reader] = {
    "calibration": (str(WEIGHTS.with_name("calibration.json")),
                    lambda: {"version": 1, "calibrations": {file_digest(WEIGHTS): CALIBRATION}}, CLASSIFY, {0, 4}),
    "threshold": (str(WEIGHTS.with_name("unfamiliar.json")),
                  lambda: {"version": 1, "thresholds": {file_digest(WEIGHTS): THRESHOLD}}, CLASSIFY, {0, 4}),
    "manifest of samples": ("images/manifest.json", lambda: SAMPLES,
                            ["eval", "--samples", "images", "--model", "run"], {0, 3}),
    "manifest to go on with": ("images/manifest.json", lambda: SAMPLES,
                               ["sample", "--model", "run", "-k", 1, "--out", "images"], {0, 2, 3}),
    "metrics of shipped models": ("shipped/models.json", lambda: METRICS, ["models"], {0}),
    "results": ("runs/run/results.json", lambda: RESULTS, ["models"], {0}),
    "settings": ("settings.json", lambda: SETTINGS, ["train", "--config", "settings.json", "-i", "nowhere"], {2, 3}),
}  # fmt: skip
NASTY: list[Any] = [
    None, True, -1, 10**400, 1e308, float("nan"), float("inf"), "", "\0", "\x1b[2J\u202e", "\ud800", "a" * 100_000, [],
    {}, [[]], {"": None}, "..", "/dev/zero", "../../../etc/passwd", "sound-1.png\nerror: x",
]  # fmt: skip
TEXTS: dict[str, bytes] = {
    "nothing": b"", "null": b"null", "a number": b"1", "a word": b'"x"', "an array": b"[]", "an object": b"{}",
    "NaN": b'{"version": NaN}', "a number of 5,000 digits": b'{"version": ' + b"9" * 5000 + b"}",
    "100,000 brackets": b"[" * 100_000, "100,000 braces": b'{"a":' * 100_000,
    "a key twice": b'{"version": 1, "version": 2}', "no UTF-8": b'{"version": "\xff"}',
    "UTF-16": '{"version": 1}'.encode("utf-16"), "a byte order mark": b"\xef\xbb\xbf{}",
    "zero bytes": bytes(100), "spaces": b" " * (3 << 20), "a comment": b'{} // "version"', "two of them": b"{}{}",
    "half a pair": rb'{"version": "\ud800"}', "an escape": b'{"\x1b[2J": 1}',
}  # fmt: skip


def changed(document: object, number: int) -> bytes:
    """A sound document with nasty values in one to three places."""
    chance = random.Random(f"{SEED} {number} {document}")
    copy = json.loads(json.dumps(document))
    for _ in range(chance.randint(1, 3)):
        container = copy
        while True:
            keys = list(container) if isinstance(container, dict) else range(len(container))
            if not keys:
                break
            key = chance.choice(list(keys))
            if isinstance(container[key], dict | list) and container[key] and chance.random() < 0.8:
                container = container[key]
                continue
            container[key] = chance.choice(NASTY)
            break
    return json.dumps(copy).encode()


CHANGED = [f"changed {number}" for number in range(12)]


@pytest.mark.parametrize("case", [*TEXTS, *OTHERS, *CHANGED])
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document(
    cli: Cli, unharmed: Any, counts: Counter[Any], monkeypatch: pytest.MonkeyPatch, kind: str, case: str
) -> None:
    name, sound, command, codes = DOCUMENTS[kind]
    if kind == "results":
        shutil.copytree("run", "runs/run", symlinks=True)
    if kind == "metrics of shipped models":
        Path("shipped").mkdir()
        shipped = {name: Path(shutil.copy(path, "shipped")) for name, path in shipped_models().items()}
        monkeypatch.setattr(models, "shipped_models", lambda: shipped)
    path = Path(name)
    path.unlink(missing_ok=True)
    put(path, changed(sound(), CHANGED.index(case)) if case in CHANGED else pick(TEXTS, case))
    outcome = cli(*command)
    unharmed(outcome, codes)
    assert all(path.is_file() for path in (WEIGHTS, *(Path(f"images/sound-{number}.png") for number in range(3))))
    counts[kind, outcome.code] += 1


shipped_models = models.shipped_models
