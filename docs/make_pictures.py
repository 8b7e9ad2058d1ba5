"""Draw the pictures of the README and of docs/sampling.md from a model.

    python docs/make_pictures.py --model NAME|PATH --images FOLDER [--seed 0] [--temperature 1.0] [--out docs/images]

It writes samples.png (a captioned row for each class), completions.png (each class's first image of the folder, which
has a sub-folder for each class), strip.png (an image of each class while it is drawn), temperature.png and guidance.png
(panels with headings, from the same noise).

`--temperature` is that of samples.png, completions.png and strip.png; where it is not 1, say so beside the picture,
since these are not draws from the model's own distribution.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import cpixelcnn
from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.datasets.user_images import read_user_images
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.plots.grids import completion_page, drawing_stages, grid, side_by_side
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.storage import write_png

Pixels = NDArray[np.uint8]

TEMPERATURES, WEIGHTS = (1.0, 0.95, 0.9, 0.8), (0.0, 0.5, 1.0, 3.0)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    model = cpixelcnn.load(options.model)
    classes = model.config.classes
    options.out.mkdir(parents=True, exist_ok=True)
    of_pictures = _tempered(options.temperature)
    pictures = {
        "samples": grid(draw(model, options.columns, options.seed, of_pictures), options.columns, captions=classes),
        "completions": complete(model, first_of_each_class(model, options.images), options.seed, of_pictures),
        "strip": strip(model, options.seed, of_pictures),
        "temperature": panels(model, options.seed, {f"temperature {t:g}": _tempered(t) for t in TEMPERATURES}),
        "guidance": panels(model, options.seed, {f"guidance {w:g}": SamplingOptions(guidance=w) for w in WEIGHTS}),
    }
    for name, pixels in pictures.items():
        write_png(options.out / f"{name}.png", pixels)
        print(f"wrote {options.out / name}.png, {pixels.shape[1]} x {pixels.shape[0]}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw the pictures of the documentation from a model.")
    parser.add_argument("--model", help="run or checkpoint directory, weight file or shipped model")
    parser.add_argument("--images", type=Path, help="folder with a sub-folder for each class; the embedded test images")
    parser.add_argument("--columns", type=int, default=8, help="samples of each class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0, help="of samples, completions and strip")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    return parser.parse_args(arguments)


def _tempered(temperature: float) -> SamplingOptions:
    return SamplingOptions(mixture_temperature=temperature, scale_temperature=temperature)


def draw(model: PixelCNN, per_class: int, seed: int, options: SamplingOptions) -> Tensor:
    """Samples class by class, uint8 (classes * per_class, C, H, W)."""
    labels = torch.arange(model.config.nr_classes).repeat_interleave(per_class)
    return cpixelcnn.sample(model, labels, seed=seed, options=options).images


def first_of_each_class(model: PixelCNN, folder: Path | None) -> Tensor:
    """An image of each class at the model's size, uint8 (classes, C, H, W)."""
    config = model.config
    if folder is None:
        images = load_split(DataConfig(image_size=config.image_height), "test")
    else:
        images = read_user_images(
            [folder],
            classes=config.classes,
            channels=config.image_channels,
            height=config.image_height,
            width=config.image_width,
        ).images
    return torch.stack([images.images[images.labels == label][0] for label in range(config.nr_classes)])


def complete(model: PixelCNN, originals: Tensor, seed: int, options: SamplingOptions, count: int = 4) -> Pixels:
    """Each image, its upper half, and completions in its class: pixels (H, W, 3)."""
    labels = torch.arange(len(originals)).repeat_interleave(count)
    from_row = model.config.image_height // 2
    completed = cpixelcnn.sample(
        model, labels, seed=seed, given=originals.repeat_interleave(count, 0), from_row=from_row, options=options
    ).images
    page = completion_page(originals, completed, from_row)
    headings = ["original", "given", "completions"]
    return grid(page, count + 2, captions=model.config.classes, headings=headings)


def strip(model: PixelCNN, seed: int, options: SamplingOptions) -> Pixels:
    """An image of each class while it is drawn: pixels (H, W, 3)."""
    page, rows = drawing_stages(draw(model, 1, seed, options))
    return grid(page, len(rows), captions=model.config.classes, headings=[f"row {row}" for row in rows])


def panels(model: PixelCNN, seed: int, ways: dict[str, SamplingOptions]) -> Pixels:
    """A grid for each way of drawing, from the same noise, with a heading: pixels (H, W, 3)."""
    grids = []
    for i, options in enumerate(ways.values()):
        captions = model.config.classes if i == 0 else ()
        grids.append(grid(draw(model, 3, seed, options), 3, captions=captions, scale=2 if len(ways) > 3 else None))
    return side_by_side(grids, list(ways))


if __name__ == "__main__":
    main()
