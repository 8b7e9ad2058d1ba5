"""How the files of a data set were stored before they were scaled, and images of other makes stored alike.

A density model learns all that is in its pixels, the traces of lossy compression among them. The files of cpen455 are
JPEGs of 64 x 64: of the blocks of 8 x 8 that JPEG codes one by one, squares of 4 x 4 are left at 32 x 32. A photograph
that never had them is improbable in every class, and what is improbable for that reason drowns what tells the classes
apart. The remedy is to store it as the others were, once, before it is scaled. (docs/data.md has the figures.)
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageOps


@dataclass(frozen=True)
class Storage:
    """JPEG files of one size and quality, with Pillow's default of half the resolution in colour.

    Attributes:
        size: rows and columns.
        quality: of the compression, 1 to 95.
    """

    size: int
    quality: int

    def __str__(self) -> str:
        return f"{self.size}x{self.size} JPEG of quality {self.quality}"

    def holds(self, image: Image.Image) -> bool:
        """Whether this image, as opened from its file, is stored so."""
        if image.format != "JPEG" or image.size != (self.size, self.size):
            return False
        # A grey file has one table, the first.
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
        mine = _quantization(self.quality)
        return bool(tables) and all(list(table) == mine.get(number) for number, table in tables.items())

    def store(self, image: Image.Image) -> Image.Image:
        """The RGB image as it comes back from being stored: cropped to a square, scaled, compressed."""
        image = ImageOps.fit(image, (self.size, self.size), method=Image.Resampling.BILINEAR)
        return Image.open(io.BytesIO(_compressed(image, self.quality))).convert("RGB")


# By the names in `DataConfig.dataset`.
STORAGES = {"cpen455": Storage(size=64, quality=75)}


@lru_cache(maxsize=8)
def _quantization(quality: int) -> dict[int, list[int]]:
    """The tables of JPEG's quantisation by number, as Pillow writes them."""
    with Image.open(io.BytesIO(_compressed(Image.new("RGB", (8, 8)), quality))) as image:
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
        return {number: list(table) for number, table in tables.items()}


def _compressed(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()
