"""From image files to 8-bit tensors: one policy for every kind of file, and no file that quietly becomes another.

What a file holds is decided by its content (PNG, JPEG, BMP, GIF, WebP, TIFF, PPM/PGM), not by its name. Then, in order:

- *Refused*: what is no image, is empty, truncated or damaged, is no regular file or may not be read; more than 100
  megapixels (judged by the header, before anything is decoded); and floating-point and 32-bit pixels, which have no
  agreed range.
- *Several pictures* (animations, multi-page files): the first.
- *EXIF rotation* is applied.
- *Transparency* (LA, PA, RGBA, or one colour of a palette): composited over white.
- *16-bit grey*: divided by 257 and rounded. Pillow itself would cut everything above 255 off.
- *1-bit, palette, CMYK, YCbCr, Lab*: Pillow's conversion to RGB.
- *Size*: where it differs from the wanted one, a centre crop to the wanted aspect ratio, then Pillow's antialiased
  bilinear filter (`ImageOps.fit`), in 8 bits. A 1x1 image is enlarged. Values stay on the 8-bit grid, which the
  likelihood relies on.
- *Channels*: three are RGB; one is the luma of ITU-R 601 (Pillow's "L").
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from cpixelcnn.datasets.image_files import find_images
from cpixelcnn.errors import BadImagesError, DataError
from cpixelcnn.progress import Progress, silent

__all__ = ["ReadImages", "find_images", "fit_images", "read_image", "read_images"]

MOST_PIXELS = 100_000_000
TOO_LARGE = f"more than {MOST_PIXELS // 1_000_000} megapixels"
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # no format whose reader starts another program
REMEDY = "repair or remove them, or pass --skip-bad to leave them out"


class _Refused(Exception):  # noqa: N818 (caught where it is raised)
    """A sound file that the policy does not accept; the message is the reason."""


@dataclass(frozen=True)
class ReadImages:
    """What became of a list of files.

    Attributes:
        images: uint8 (N, C, H, W).
        kept: which of the paths became images, as N ascending indices.
        failures: ``(path, reason)`` of the others, in the order of the paths.
    """

    images: Tensor
    kept: list[int]
    failures: list[tuple[Path, str]]


def read_image(path: Path, *, channels: int, height: int | None, width: int | None) -> Tensor:
    """Read one image file by the policy of this module.

    Args:
        path: the file.
        channels: 3 (RGB) or 1 (grey).
        height: rows wanted, or None together with `width` for as many as are stored.
        width: columns wanted.

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
    progress: Progress = silent,
) -> ReadImages:
    """Read many image files by the policy of this module.

    Args:
        paths: the N files.
        channels: 3 (RGB) or 1 (grey).
        height: rows wanted, or None together with `width` for as many as are stored, the same in all files.
        width: columns wanted.
        skip_bad: return files that cannot be used among `failures` rather than raise.
        progress: told of every file.

    Raises:
        BadImagesError: there are files that cannot be used; it lists all of them.
        DataError: no size is wanted, and the files differ in theirs.
    """
    images: list[Tensor] = []
    kept: list[int] = []
    failures: list[tuple[Path, str]] = []
    for index, path in enumerate(paths):
        outcome = _attempt(path, channels, height, width)
        if isinstance(outcome, str):
            failures.append((path, outcome))
        else:
            images.append(outcome)
            kept.append(index)
        progress(index + 1, len(paths))
    if failures and not skip_bad:
        raise BadImagesError(failures, REMEDY)
    for index, image in zip(kept, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"{paths[index]} has {_size(image)} pixels and {paths[kept[0]]} has {_size(images[0])}; "
                f"name one size with --image-size"
            )
    empty = torch.empty(0, channels, height or 0, width or 0, dtype=torch.uint8)
    return ReadImages(torch.stack(images) if images else empty, kept, failures)


def fit_images(images: Tensor, *, height: int, width: int, progress: Progress = silent) -> Tensor:
    """Crop and resize images that did not come from files, exactly as those that do: uint8 (N, C, H, W) to the same."""
    if tuple(images.shape[2:]) == (height, width):
        return images
    fitted = []
    for index, image in enumerate(images):
        array = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
        fitted.append(_to_tensor(_fit(Image.fromarray(array), height, width)))
        progress(index + 1, len(images))
    return torch.stack(fitted) if fitted else images.new_empty(0, images.shape[1], height, width)


def _attempt(path: Path, channels: int, height: int | None, width: int | None) -> Tensor | str:
    """The image, or the reason why there is none."""
    try:
        _check_file(path)
        # Pillow warns of odd metadata and of big images: the pixels decode all the same, and size is judged here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(path, channels, height, width)
    except _Refused as refusal:
        return str(refusal)
    except UnidentifiedImageError:
        return f"not an image of a known format ({', '.join(FORMATS)})"
    except Image.DecompressionBombError:  # Pillow's own limit, twice as high as its warning
        return TOO_LARGE
    except PermissionError:
        return "permission denied"
    except (
        Exception
    ) as error:  # damaged files make decoders raise almost anything: struct.error, IndexError, zlib.error
        return f"damaged or not supported ({' '.join(str(error).split()) or type(error).__name__})"


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise _Refused("a directory, not a file")
    if not path.exists():
        raise _Refused("a link to nothing" if path.is_symlink() else "no such file")
    if not path.is_file():  # opening a named pipe would wait for ever
        raise _Refused("not a regular file")
    if path.stat().st_size == 0:
        raise _Refused("the file is empty")


def _decode(path: Path, channels: int, height: int | None, width: int | None) -> Tensor:
    with Image.open(path, formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise _Refused(f"{opened.width}x{opened.height} is {TOO_LARGE}")
        kind = opened.format
        picture = _to_rgb(ImageOps.exif_transpose(opened), kind)
    if height is not None and width is not None:
        picture = _fit(picture, height, width)
    return _to_tensor(picture.convert("L") if channels == 1 else picture)


def _to_rgb(image: Image.Image, kind: str | None) -> Image.Image:
    # 16-bit grey PGM (and, in older Pillows, PNG) arrive as 32-bit integers; in a TIFF these may mean anything.
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
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
