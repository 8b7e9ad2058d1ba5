"""The lossy compression that training images went through, for photographs that did not.

A density model learns all that is in its pixels, the traces of compression among them. The files of cpen455 are JPEGs
of 64 x 64: of the blocks of 8 x 8 that JPEG codes one by one, squares of 4 x 4 are left at 32 x 32. A photograph
without them is improbable in every class, and that drowns what tells the classes apart. The remedy is to compress the
photograph in the same way, once, before it is scaled to the model's size. (docs/results.md has the figures.)
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageOps
from PIL.JpegImagePlugin import get_sampling

from cpixelcnn.datasets.crops import Crop
from cpixelcnn.errors import plural

_HALVED_COLOUR = 2  # of both rows and columns (4:2:0), in Pillow's numbers
_GREY = -1


@dataclass(frozen=True)
class Compression:
    """JPEG at one size and quality, with half the resolution in colour.

    Attributes:
        size: rows and columns.
        quality: of the compression, 1 to 95.
    """

    size: int
    quality: int

    def __str__(self) -> str:
        return f"{self.size}x{self.size} JPEG of quality {self.quality}"

    def matches(self, image: Image.Image) -> bool:
        """Whether the file of this image, as it was opened, is compressed so."""
        if image.format != "JPEG" or image.size != (self.size, self.size) or image.mode not in ("RGB", "L"):
            return False
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
        mine = _quantization(self.quality)
        return get_sampling(image) in (_HALVED_COLOUR, _GREY) and all(
            list(table) == mine.get(number) for number, table in tables.items()
        )

    def apply(self, image: Image.Image, crop: Crop | None = None) -> Image.Image:
        """The RGB image after compression: cropped to a square at the centre, scaled, coded and decoded.

        With a `crop` that part of the square, by the bicubic filter: of files of this very size a crop is enlarged, and
        the bilinear filter would blur it.
        """
        size = (self.size, self.size)
        if crop is None:
            image = ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)
        else:
            image = crop.of(image, size, Image.Resampling.BICUBIC)
        return Image.open(io.BytesIO(_coded(image, self.quality))).convert("RGB")


def compression_note(count: int, compression: Compression | None) -> str:
    """The sentence that says how many images were compressed; empty if none were.

    >>> compression_note(1, Compression(size=64, quality=75))
    '1 image compressed first, as the training images were: 64x64 JPEG of quality 75'
    """
    return f"{plural(count, 'image')} compressed first, as the training images were: {compression}" if count else ""


# Of the training images, by the names in `DataConfig.dataset`: of cpen455 those that the course gives.
COMPRESSIONS = {"cpen455": Compression(size=64, quality=75)}


@lru_cache(maxsize=8)
def _quantization(quality: int) -> dict[int, list[int]]:
    """JPEG's tables of quantisation by number, as Pillow writes them: brightness and colour."""
    with Image.open(io.BytesIO(_coded(Image.new("RGB", (8, 8)), quality))) as image:
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
        return {number: list(table) for number, table in tables.items()}


def _coded(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=_HALVED_COLOUR)
    return file.getvalue()
