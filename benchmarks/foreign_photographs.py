"""Validation images of cpen455 as if they came from elsewhere, for `cpixelcnn classify`.

    python benchmarks/foreign_photographs.py DATA OUT
    cpixelcnn classify OUT/enlarged --model small [--as-is]

The folders are `enlarged` (the middle 90 %, 230 x 230, JPEG of quality 90), `cropped` (the middle 58 x 58 pixels, PNG)
and `shifted` (at 32 x 32, moved to the right by one pixel), each with a folder for every class.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageChops

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.registry import load_split


def enlarged(image: Image.Image) -> Image.Image:
    """A middle part of 57.6 pixels, four times as large."""
    return image.resize((230, 230), Image.Resampling.BICUBIC, box=(3.2, 3.2, 60.8, 60.8))


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((3, 3, 61, 61))


def shifted(image: Image.Image) -> Image.Image:
    """The first column twice, and the last gone."""
    moved = ImageChops.offset(image.resize((32, 32), Image.Resampling.BILINEAR), 1, 0)
    moved.paste(moved.crop((1, 0, 2, 32)), (0, 0))
    return moved


MAKES: dict[str, tuple[Callable[[Image.Image], Image.Image], str, dict[str, int]]] = {
    "enlarged": (enlarged, ".jpg", {"quality": 90}),
    "cropped": (cropped, ".png", {}),
    "shifted": (shifted, ".png", {}),
}


def photographs(data: str) -> Iterator[tuple[Path, str]]:
    """The files of the validation split, and their classes."""
    split = load_split(DataConfig(dataset="cpen455", data_dir=data), "validation")
    for path, label in zip(split.paths, split.labels.tolist(), strict=True):
        yield path, split.classes[label]


def main(data: str, out: str) -> None:
    for path, name in photographs(data):
        image = Image.open(path).convert("RGB")
        for kind, (made, suffix, options) in MAKES.items():
            target = Path(out, kind, name, path.stem + suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            made(image).save(target, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="directory of cpen455")
    parser.add_argument("out", help="where the folders come")
    arguments = parser.parse_args()
    main(arguments.data, arguments.out)
