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
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from cpixelcnn.datasets.compression import Compression
from cpixelcnn.datasets.crops import Crop
from cpixelcnn.progress import Progress, silent

MOST_BYTES = 1 << 30
MOST_PIXELS = 100_000_000
TOO_LARGE = f"more than {MOST_PIXELS // 1_000_000} megapixels"
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # no format whose reader starts another program


class _Refused(Exception):  # noqa: N818 (caught where it is raised)
    """A sound file that the policy does not accept; the message is the reason."""


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
    """Read one image file by the policy of this module; where that fails, the reason is returned and not raised.

    Args:
        path: the file.
        channels: 3 (RGB) or 1 (grey).
        height: rows of the image, or None together with `width` to keep the stored size.
        width: columns of the image.
        compression: what the image goes through before it is scaled, unless its file did so or it has the wanted size.
        as_is: whether it is left alone all the same; crops of a file that did so go through the compression again.
        crops: those that are wanted as well; they need a `height` and a `width`, and go through the compression.
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
