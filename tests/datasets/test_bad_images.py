"""Image files that cannot be used: each refused for a stated reason, all listed at once, none replaced by another."""

import binascii
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from cpixelcnn.datasets.reading import read_images
from cpixelcnn.errors import BadImagesError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def reason(path: Path) -> str:
    result = read_images([path], channels=3, height=8, width=8, skip_bad=True)
    assert result.kept == [] and result.images.shape == (0, 3, 8, 8)
    assert [failed for failed, _ in result.failures] == [path]
    return result.failures[0][1]


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def png_header(path: Path, width: int, height: int) -> None:
    """A PNG that promises many pixels and holds none."""
    content = b"\x89PNG\r\n\x1a\n"
    for chunk in (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT", b"IEND"):
        content += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", binascii.crc32(chunk))
    path.write_bytes(content)


def test_a_hundred_megapixels_are_the_most_and_are_refused_unread(tmp_path: Path) -> None:
    for width, height in ((20_000, 20_000), (10_001, 10_000), (13_000, 10_000)):
        png_header(tmp_path / "a.png", width, height)
        start = time.monotonic()
        assert "100 megapixels" in reason(tmp_path / "a.png")
        assert time.monotonic() - start < 5  # seconds
    png_header(tmp_path / "a.png", 20, 20)
    assert "megapixels" not in reason(tmp_path / "a.png")


@pytest.mark.parametrize(("dtype", "word"), [(np.float32, "floating-point"), (np.int32, "32-bit")])
def test_pixels_without_an_agreed_range_are_refused(tmp_path: Path, dtype: type, word: str) -> None:
    Image.fromarray(np.full((4, 4), 7, dtype=dtype)).save(tmp_path / "a.tif")
    assert word in reason(tmp_path / "a.tif") and "convert" in reason(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif", "ppm"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise()).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert reason(path)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp"])
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise()[:16, :16]).save(path)
    content = path.read_bytes()
    whole = read_images([path], channels=3, height=16, width=16).images
    for length in [*range(0, len(content) - 20, 13), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        result = read_images([path], channels=3, height=16, width=16, skip_bad=True)
        assert result.failures or bool((result.images == whole).all())


def test_one_flipped_byte_of_compressed_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise()).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    assert "damaged" in reason(path)


def test_what_is_no_image_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>not found</html>")
    (tmp_path / "vector.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert "empty" in reason(tmp_path / "empty.png")
    assert "not an image" in reason(tmp_path / "text.png")
    assert "not an image" in reason(tmp_path / "vector.png")  # Ghostscript is not started
    assert "directory" in reason(tmp_path / "folder.png")
    assert "link to nothing" in reason(tmp_path / "dangling.png")
    assert reason(tmp_path / "circle.png")
    assert "not a regular file" in reason(tmp_path / "pipe.png")
    assert "no such file" in reason(tmp_path / "absent.png")
    assert reason(tmp_path / ("long" * 100 + ".png")) == "file name too long"
    assert "not a regular file" in reason(Path("/dev/zero"))
    os.truncate(tmp_path / "empty.png", (1 << 30) + 1)  # sparse: it takes no room
    assert reason(tmp_path / "empty.png") == "larger than 1 GiB"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    assert reason(tmp_path / "a.png") == "permission denied"


def test_unreadable_as_any_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.Image.open", refuse)
    assert reason(tmp_path / "a.png") == "permission denied"


def test_all_bad_files_are_listed_at_once_and_none_is_replaced(tmp_path: Path) -> None:
    colours = {"a.png": RED, "c.png": GREEN, "e.png": BLUE}
    for name, colour in colours.items():
        Image.new("RGB", (4, 4), colour).save(tmp_path / name)
    (tmp_path / "b.png").touch()
    (tmp_path / "d[1].png").write_text("text")
    paths = sorted(tmp_path.iterdir())
    with pytest.raises(BadImagesError, match=r"2 images cannot be used.*`skip_bad`") as caught:
        read_images(paths, channels=3, height=4, width=4)
    assert [path.name for path, _ in caught.value.failures] == ["b.png", "d[1].png"]
    assert caught.value.exit_code == 3

    calls: list[tuple[int, int]] = []
    result = read_images(
        paths, channels=3, height=4, width=4, skip_bad=True, progress=lambda done, total: calls.append((done, total))
    )
    assert result.kept == [0, 2, 4]
    assert [tuple(image[:, 0, 0].tolist()) for image in result.images] == list(colours.values())
    assert calls == [(n, 5) for n in range(1, 6)]


def test_progress_may_stop_the_reading(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_images([tmp_path / "a.png"], channels=3, height=4, width=4, progress=stop)
