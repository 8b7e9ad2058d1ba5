"""Look inside the distribution: one image under every class, and the 256 probabilities of one pixel's values.

    python examples/conditional_density.py [--model NAME|PATH] [--image FILE] [--row R] [--column C]

Without --image the first embedded test picture (a hamburger) is taken, without --row and --column the middle pixel.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import cpixelcnn
from cpixelcnn.datasets.drawings import draw
from cpixelcnn.datasets.reading import read_image

BARS = " .:-=+*#%@"  # from no probability to the most probable bin of the row
BINS = 64  # four of the 256 values to a character


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    model = cpixelcnn.load(options.model)
    config = model.config
    image = read_one(options.image, model)
    row = config.image_height // 2 if options.row is None else options.row
    column = config.image_width // 2 if options.column is None else options.column

    # The image under every class: the same pixels, one label after another, in one batch.
    labels = torch.arange(config.nr_classes)
    copies = image.expand(config.nr_classes, -1, -1, -1)
    with torch.inference_mode():
        mixture = model.distribution(copies, labels)
        per_pixel = mixture.log_prob(copies)  # log p(x_i | x_<i, c) in nats, (classes, height, width)
    log_prob = per_pixel.sum(dim=(1, 2), dtype=torch.float64)
    posterior = torch.softmax(log_prob, dim=0)
    print(f"{'class':12} {'log p(x|c)':>12} {'p(c|x)':>9} {'this pixel':>11}")
    for label, name in enumerate(config.classes):
        here = float(per_pixel[label, row, column])
        print(f"{name:12.12} {float(log_prob[label]):12.1f} {float(posterior[label]):9.4f} {here:11.3f}")

    # One pixel's values. A channel depends on the pixels before and on the channels before it.
    for channel, channel_name in enumerate(("red", "green", "blue") if config.image_channels == 3 else ("grey",)):
        with torch.inference_mode():
            log_probs = mixture.value_log_probs(channel, copies)[:, :, row, column]  # (classes, 256)
        probabilities = log_probs.exp()
        value = int(image[0, channel, row, column])
        print(f"\n{channel_name} of pixel ({row}, {column}): the value is {value}; 0 ... 255 in {BINS} bins")
        for label, name in enumerate(config.classes):
            p = probabilities[label]
            print(f"{name:12.12} |{bars(p)}| sum {float(p.sum()):.5f}, p({value}) = {float(p[value]):.4f}")
        print(" " * 14 + " " * (value * BINS // 256) + "^")


def bars(probabilities: Tensor) -> str:
    """256 probabilities as a line of characters, the darkest for the most probable bin."""
    mass = probabilities.view(BINS, -1).sum(dim=1)
    return "".join(BARS[int(height)] for height in (mass / mass.max() * (len(BARS) - 1)).round())


def read_one(path: Path | None, model: cpixelcnn.PixelCNN) -> Tensor:
    """An image uint8 (1, C, H, W) of the model's size."""
    config = model.config
    if path is None:
        picture = draw(0, split="test", index=0, height=config.image_height, width=config.image_width)
        return torch.from_numpy(picture)[None]
    return read_image(path, channels=config.image_channels, height=config.image_height, width=config.image_width)[None]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One image under every class, and one pixel's 256 probabilities.")
    parser.add_argument("--model", help="run or checkpoint directory, weight file or shipped model")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--row", type=int)
    parser.add_argument("--column", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
