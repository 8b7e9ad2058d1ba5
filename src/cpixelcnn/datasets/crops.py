"""Crops of photographs: parts of the same shape that show the same thing a little larger, with another border.

A classifier may look at the four corners of a photograph beside the whole of it, as is usual with other classifiers
("ten crops": Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks",
section 4.1), and may be trained on random crops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np

SMALLEST_PART = 0.8  # of random crops


@dataclass(frozen=True)
class Crop:
    """A part of an image.

    Attributes:
        part: its height and width as a fraction of the whole's, above 0 and at most 1.
        x: where it lies from left (0) to right (1).
        y: where it lies from top (0) to bottom (1).
    """

    part: float
    x: float
    y: float

    def box(self, size: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float, float, float]:
        """Left, top, right and bottom edge in an image.

        The whole, of which the crop is a part, is the largest centred part of the image that has the wanted shape.

        Args:
            size: columns and rows of the image.
            shape: columns and rows, whose ratio the whole and the crop have.
        """
        scale = min(size[0] / shape[0], size[1] / shape[1])
        edges = []
        for length, wanted, place in zip(size, shape, (self.x, self.y), strict=True):
            start = (length - scale * wanted) / 2 + place * (1 - self.part) * scale * wanted
            end = start + self.part * scale * wanted
            edges.append((max(start, 0.0), min(end, length)))  # rounding may leave the image, which Pillow refuses
        (left, right), (top, bottom) = edges
        return left, top, right, bottom

    def of(self, image: Image.Image, size: tuple[int, int], filter_: Image.Resampling) -> Image.Image:
        """The crop of an image, scaled to a size, which gives its shape as well."""
        return image.resize(size, filter_, box=self.box(image.size, size))


def random_crops(number: int, generator: np.random.Generator) -> tuple[Crop, ...]:
    """Crops of `SMALLEST_PART` or more of the image, at any place, all equally likely."""
    return tuple(Crop(generator.uniform(SMALLEST_PART, 1.0), *generator.random(2).tolist()) for _ in range(number))


CORNERS = tuple(Crop(0.9, x, y) for y in (0.0, 1.0) for x in (0.0, 1.0))
