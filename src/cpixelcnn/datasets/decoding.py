"""From image files to 8-bit tensors: one policy for every kind of file, and no file is replaced by another.

What a file holds is decided by its content (PNG, JPEG, BMP, GIF, WebP, TIFF, PPM/PGM), not by its name. Then, in order:

- *Refused*: what is not an image, is empty, truncated or damaged, is not a regular file or may not be read; files of
  more than 1 GiB, and images of more than 100 megapixels (by their header, before anything is decoded); and
  floating-point and 32-bit pixels, which have no agreed range.
- *Several pictures* (animations, multi-page files): the first, and the caller is told which files these are.
- *EXIF rotation* is applied.
- *Transparency* (LA, PA, RGBA, or one colour of a palette): composited over white.
- *16-bit grey*: divided by 257 and rounded. Pillow itself would cut everything above 255 off.
- *1-bit, palette, CMYK, YCbCr, Lab*: Pillow's conversion to RGB.
- *Compression*, where one is asked for, but not of files that went through it, nor of images of the wanted
  size.
- *Size*: where it differs from the wanted one, a centre crop to the wanted aspect ratio, then Pillow's antialiased
  bilinear filter (`ImageOps.fit`), in 8 bits. A 1x1 image is enlarged. Values stay on the 8-bit grid, which the
  likelihood relies on.
- *Channels*: three are RGB; one is the luma of ITU-R 601 (Pillow's "L").

Where *crops* are asked for as well, they are cut from the picture as it is in the file, and then compressed and scaled
as a whole picture would be; those of a file that went through the compression go through it again. Where a crop would
have fewer pixels than are wanted, the whole picture stands in for it.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from cpixelcnn.datasets.compression import Compression
from cpixelcnn.datasets.crops import Crop
from cpixelcnn.errors import BadImagesError, DataError
from cpixelcnn.progress import Progress, silent

MOST_BYTES = 1 << 30
MOST_PIXELS = 100_000_000
TOO_LARGE = f"more than {MOST_PIXELS // 1_000_000} megapixels"
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # no format whose reader starts another program
REMEDY = "repair or remove them, or pass `skip_bad` to leave them out"


class _Refused(Exception):  # noqa: N818 (caught where it is raised)
    """A sound file that the policy does not accept; the message is the reason."""


@dataclass(frozen=True)
class ReadImages:
    """What became of a list of files.

    Attributes:
        images: uint8 (N, C, H, W).
        kept: which of the paths became images, as N ascending indices.
        failures: ``(path, reason)`` of the others, in the order of the paths.
        animated: those of the kept files that hold several pictures, of which the first was taken.
        nr_compressed: how many of the kept files went through the compression that was asked for.
        crops: the K crops of each image that were asked for, uint8 (K, N, C, H, W).
        uncut: those of the kept files that are too small for a crop, and stand in for it.
    """

    images: Tensor
    kept: list[int]
    failures: list[tuple[Path, str]]
    animated: list[Path]
    nr_compressed: int
    crops: Tensor
    uncut: list[Path]


class Attempt(NamedTuple):
    """What became of one file.

    Attributes:
        image: uint8 (C, H, W), or None.
        reason: why there is no image; empty where there is one.
        animated: whether the file holds several pictures, of which this is the first.
        compressed: whether the image went through the compression that was asked for.
        crops: the crops that were asked for, each uint8 (C, H, W).
        uncut: whether the image is too small for one of them, and stands in for it.
    """

    image: Tensor | None
    reason: str = ""
    animated: bool = False
    compressed: bool = False
    crops: tuple[Tensor, ...] = ()
    uncut: bool = False


def read_image(path: Path, *, channels: int, height: int | None, width: int | None) -> Tensor:
    """Read one image file by the policy of this module.

    Args:
        path: the file.
        channels: 3 (RGB) or 1 (grey).
        height: rows of the result, or None together with `width` to keep the stored size.
        width: columns of the result.

    Returns:
        uint8 (C, H, W).

    Raises:
        BadImagesError: the file cannot be used, and why.
    """
    return read_images([path], channels=channels, height=height, width=width).images[0]


def read_images(
    paths: Sequence[Path],
    *,
    channels: int,
    height: int | None,
    width: int | None,
    skip_bad: bool = False,
    compression: Compression | None = None,
    as_is: bool = False,
    crops: Sequence[Crop] = (),
    progress: Progress = silent,
) -> ReadImages:
    """Read many image files by the policy of this module.

    Args:
        paths: the N files.
        channels: 3 (RGB) or 1 (grey).
        height: rows of the result, or None together with `width` to keep the stored size, the same in all files.
        width: columns of the result.
        skip_bad: return files that cannot be used among `failures` rather than raise.
        compression: what images go through before they are scaled, as in `attempt_image`.
        as_is: whether files that did not go through it are left alone all the same.
        crops: those that are wanted of each image as well.
        progress: called after every file.

    Raises:
        BadImagesError: there are files that cannot be used; it lists all of them.
        DataError: the stored size is to be kept, and the files differ in it.
    """
    images: list[Tensor] = []
    cut: list[tuple[Tensor, ...]] = []
    kept: list[int] = []
    failures: list[tuple[Path, str]] = []
    animated: list[Path] = []
    uncut: list[Path] = []
    nr_compressed = 0
    for index, path in enumerate(paths):
        attempt = attempt_image(
            path, channels=channels, height=height, width=width, compression=compression, as_is=as_is, crops=crops
        )
        if attempt.image is None:
            failures.append((path, attempt.reason))
        else:
            images.append(attempt.image)
            cut.append(attempt.crops)
            kept.append(index)
            animated += [path] if attempt.animated else []
            uncut += [path] if attempt.uncut else []
            nr_compressed += attempt.compressed
        progress(index + 1, len(paths))
    if failures and not skip_bad:
        raise BadImagesError(failures, REMEDY)
    for index, image in zip(kept, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"{paths[index]} has {_size(image)} pixels and {paths[kept[0]]} has {_size(images[0])}; "
                f"name one size with `image_size`"
            )
    shape = (channels, height or 0, width or 0)
    return ReadImages(
        images=stacked(images, shape),
        kept=kept,
        failures=failures,
        animated=animated,
        nr_compressed=nr_compressed,
        crops=stacked_crops(cut, crops, shape),
        uncut=uncut,
    )


def stacked(images: Sequence[Tensor], shape: tuple[int, int, int]) -> Tensor:
    """Images as one tensor uint8 (N, C, H, W), of this shape (C, H, W) where there are none."""
    return torch.stack(list(images)) if images else torch.empty(0, *shape, dtype=torch.uint8)


def stacked_crops(cut: Sequence[tuple[Tensor, ...]], crops: Sequence[Crop], shape: tuple[int, int, int]) -> Tensor:
    """The crops of N images as one tensor uint8 (K, N, C, H, W)."""
    of_crops = [stacked([of_image[k] for of_image in cut], shape) for k in range(len(crops))]
    return torch.stack(of_crops) if of_crops else torch.empty(0, len(cut), *shape, dtype=torch.uint8)


def attempt_image(
    path: Path,
    *,
    channels: int,
    height: int | None,
    width: int | None,
    compression: Compression | None = None,
    as_is: bool = False,
    crops: Sequence[Crop] = (),
) -> Attempt:
    """Read one image file as `read_image` does; the reason is returned, not raised, where that fails.

    With a `compression`, the image goes through it before it is scaled, unless its file did so or it has the wanted
    size; its crops go through it, too, also those of a file that did so. With `as_is`, only these last do. Crops need a
    `height` and a `width`.
    """
    try:
        _check_file(path)
        # Pillow warns of odd metadata and of big images: the pixels decode all the same, and size is judged here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(path, channels, height, width, compression, as_is, crops)
    except _Refused as refusal:
        return Attempt(None, str(refusal))
    except UnidentifiedImageError:
        return Attempt(None, f"not an image of a known format ({', '.join(FORMATS)})")
    except Image.DecompressionBombError:  # Pillow's own limit, twice as high as its warning
        return Attempt(None, TOO_LARGE)
    except PermissionError:
        return Attempt(None, "permission denied")
    except (
        Exception
    ) as error:  # damaged files make decoders raise almost anything: struct.error, IndexError, zlib.error
        return Attempt(None, f"damaged or not supported ({' '.join(str(error).split()) or type(error).__name__})")


def animation_note(paths: Sequence[Path]) -> str:
    """The sentence that says of which files the first picture alone was used; empty if there are none.

    >>> animation_note([Path("a.gif"), Path("b.gif")])
    '2 files hold several pictures, such as a.gif; the first picture of each is used'
    """
    if not paths:
        return ""
    if len(paths) == 1:
        return f"{paths[0]} holds several pictures; the first is used"
    return f"{len(paths)} files hold several pictures, such as {paths[0]}; the first picture of each is used"


def fit_images(
    images: Tensor, *, height: int, width: int, channels: int | None = None, progress: Progress = silent
) -> Tensor:
    """Crop, resize and convert images that did not come from files, exactly as those that do.

    Args:
        images: uint8 (N, C, H, W) with one channel (grey) or three (RGB).
        height: rows of the result.
        width: columns of the result.
        channels: 3, 1, or None for as many as there are.
        progress: called after every image.

    Returns:
        uint8 (N, channels, height, width); the argument itself where there is nothing to do.
    """
    channels = channels or images.shape[1]
    if tuple(images.shape[1:]) == (channels, height, width):
        return images
    fitted = []
    for index, image in enumerate(images):
        picture = Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())
        fitted.append(_to_tensor(_fit(picture, height, width).convert("L" if channels == 1 else "RGB")))
        progress(index + 1, len(images))
    return torch.stack(fitted) if fitted else images.new_empty(0, channels, height, width)


def _check_file(path: Path) -> None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise _Refused("a link to nothing" if path.is_symlink() else "no such file") from None
    except PermissionError:
        raise
    except OSError as error:  # a name that is too long, links in a circle
        raise _Refused((error.strerror or str(error)).lower()) from None
    if stat.S_ISDIR(status.st_mode):
        raise _Refused("a directory, not a file")
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever, and /dev/zero has no end
        raise _Refused("not a regular file")
    if status.st_size == 0:
        raise _Refused("the file is empty")
    if status.st_size > MOST_BYTES:
        raise _Refused(f"larger than {MOST_BYTES >> 30} GiB")


def _decode(
    path: Path,
    channels: int,
    height: int | None,
    width: int | None,
    compression: Compression | None,
    as_is: bool,
    crops: Sequence[Crop],
) -> Attempt:
    with Image.open(path, formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise _Refused(f"{opened.width}x{opened.height} is {TOO_LARGE}")
        picture = _to_rgb(ImageOps.exif_transpose(opened), opened.format)
        animated = _is_animated(opened)
        went_through = compression is not None and compression.matches(opened)
    compress = compression is not None and not (went_through or as_is or picture.size == (width, height))
    mode = "L" if channels == 1 else "RGB"
    whole = picture if compression is None or not compress else compression.apply(picture)
    if height is None or width is None:
        return Attempt(_to_tensor(whole.convert(mode)), "", animated, compress)
    image = _to_tensor(_fit(whole, height, width).convert(mode))
    parts = [_cut(picture, crop, height, width, None if as_is and not went_through else compression) for crop in crops]
    cut = tuple(image if part is None else _to_tensor(part.convert(mode)) for part in parts)
    return Attempt(image, "", animated, compress, cut, uncut=None in parts)


def _cut(
    picture: Image.Image, crop: Crop, height: int, width: int, compression: Compression | None
) -> Image.Image | None:
    """The crop through the compression and at the size, or None if it has too few pixels for that."""
    left, top, right, bottom = crop.box(picture.size, (width, height))
    if right - left < width or bottom - top < height:
        return None
    if compression is not None:
        return _fit(compression.apply(picture, crop), height, width)
    return crop.of(picture, (width, height), Image.Resampling.BILINEAR)


def _is_animated(opened: Image.Image) -> bool:
    # The second picture of a photograph in a JPEG (MPO) is a preview or a map of brightness, which nobody misses.
    if opened.format not in ("GIF", "PNG", "WEBP", "TIFF"):
        return False
    with suppress(Exception):  # what follows the first picture may be damaged
        return bool(getattr(opened, "is_animated", False))
    return False


def _to_rgb(image: Image.Image, kind: str | None) -> Image.Image:
    # 16-bit grey PGM (and, in older Pillows, PNG) arrive as 32-bit integers; in a TIFF these may mean anything.
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int32)
        values += 128
        values //= 257
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        pixels = "32-bit integer" if image.mode == "I" else "floating-point"
        raise _Refused(f"{pixels} pixels have no agreed range; convert the image to 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _fit(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)


def _to_tensor(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image))  # (H, W) or (H, W, 3)
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def _size(image: Tensor) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"
