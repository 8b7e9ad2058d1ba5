"""How much of a classification an exact early stop could save: classes that cannot win any more are not finished.

    python benchmarks/early_stop.py [--model small] [--dataset cpen455] [--data-dir DATA] [--images 100]

Rows are computed from the top. A class can be left at a row if its log-likelihood so far, and the most that the rows
below could add, is less than that of the winner. No probability of a value exceeds 1, so that the most is 0; that of a
value within the range (neither 0 nor 255) is a little less, since scales have a lower limit. Assumed in favour of the
early stop: the winner is known before and computed first, and rows computed one by one cost no more than all at once.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor

import cpixelcnn
from cpixelcnn.model.mixture import LOG_SCALE_RANGE


@torch.inference_mode()
def rows_of_classes(model: cpixelcnn.PixelCNN, images: Tensor) -> Tensor:
    """log p(row | rows above it, c) in nats, float64 (N, classes, H)."""
    columns = []
    for label in range(model.config.nr_classes):
        labels = torch.full((len(images),), label)
        parts = [
            model.distribution(some, own).log_prob(some).double().sum(dim=2)
            for some, own in zip(torch.split(images, 20), torch.split(labels, 20), strict=True)
        ]
        columns.append(torch.cat(parts))
    return torch.stack(columns, dim=1)


def most_below(images: Tensor) -> Tensor:
    """The highest log-probability in nats that the rows below each row can have, float64 (N, H)."""
    highest = math.log(
        math.tanh(math.exp(-LOG_SCALE_RANGE[0]) / 255 / 2)
    )  # of the central bin of the narrowest logistic
    values = ((images > 0) & (images < 255)).double().sum(dim=(1, 3)) * highest
    return values.flip(1).cumsum(dim=1).flip(1) - values


def saved(rows: Tensor, below: Tensor) -> float:
    """Fraction of the rows of all classes that need not be computed."""
    height = rows.shape[2]
    best = rows.sum(dim=2).max(dim=1).values[:, None, None]
    out = rows.cumsum(dim=2) + below[:, None, :] < best
    needed = height - out.sum(dim=2) + (out.sum(dim=2) > 0)  # the row that excludes a class is computed, too
    return 1 - float(needed.double().mean()) / height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small")
    parser.add_argument("--dataset", default="cpen455")
    parser.add_argument("--data-dir")
    parser.add_argument("--images", type=int, default=100)
    arguments = parser.parse_args()
    model = cpixelcnn.load(arguments.model).eval()
    config = cpixelcnn.DataConfig(
        dataset=arguments.dataset, data_dir=arguments.data_dir, image_size=model.config.image_height
    )
    images = cpixelcnn.load_split(config, "validation").images[: arguments.images]
    rows, below = rows_of_classes(model, images), most_below(images)
    totals = rows.sum(dim=2)
    lead = totals.topk(2, dim=1).values.diff(dim=1).abs().median()
    half = rows[:, :, : rows.shape[2] // 2].sum(dim=2).argmax(dim=1)
    agree = (half == totals.argmax(dim=1)).double().mean()
    print(f"{len(images)} images of {rows.shape[2]} rows; a row takes {-rows.mean():.0f} nats")
    print(f"lead of the winner over the runner-up:     {lead:.0f} nats (median)")
    print(f"the leader after half of the rows wins:    {100 * agree:.0f} % of the images")
    print(f"rows saved with a bound of 0:              {100 * saved(rows, torch.zeros_like(below)):.2f} %")
    print(f"rows saved with the bound of the mixture:  {100 * saved(rows, below):.2f} %")


if __name__ == "__main__":
    main()
