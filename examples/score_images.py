"""Score images under a model: how probable each is, and what class the model takes it for.

    python examples/score_images.py [--model NAME|PATH] [IMAGES ...]

IMAGES are files or folders; without any, eight of the embedded test pictures are scored. An image in a folder that is
named after a class of the model counts as one of that class.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

import cpixelcnn
from cpixelcnn.datasets.user_images import read_user_images


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    model = cpixelcnn.load(options.model)
    images = read(options.images, model) if options.images else embedded(model)

    # Everything that follows comes from log p(x | c); the labels may be any classes that one is curious about.
    result = cpixelcnn.classify(model, images.images)
    with torch.inference_mode():
        log_prob = model.log_prob(images.images, result.predictions)
    in_bits = -1 / (model.config.nr_dimensions * math.log(2))
    print(f"{'image':28} {'class':12} {'probability':>11} {'log p(x|c)':>12} {'bits/dim':>9}")
    for i, prediction in enumerate(result.predictions.tolist()):
        name = images.paths[i].name if images.paths else f"embedded test picture {i}"
        nats = float(log_prob[i])
        probability = float(result.probabilities[i, prediction])
        print(f"{name:28.28} {images.classes[prediction]:12.12} {probability:11.4f} {nats:12.1f} {nats * in_bits:9.3f}")

    density = cpixelcnn.bits_per_dim(model, images.images, images.labels)
    given = "" if density.bpd is None else f"{density.bpd:.3f} given the true class, "
    print(f"\nmean bits/dim of the {density.n_images} images: {given}{density.bpd_marginal:.3f} without a class")
    if images.labelled:
        correct = int((result.predictions == images.labels).sum())
        print(f"{correct} of {len(images)} are taken for what they are")


def read(paths: list[Path], model: cpixelcnn.PixelCNN) -> cpixelcnn.ImageSet:
    """Image files at the size that the model was made for; those that cannot be read are told and left out."""
    config = model.config
    images, failures = read_user_images(
        paths,
        classes=config.classes,
        channels=config.image_channels,
        height=config.image_height,
        width=config.image_width,
    )
    for path, reason in failures:
        print(f"left out: {path}: {reason}")
    return images


def embedded(model: cpixelcnn.PixelCNN) -> cpixelcnn.ImageSet:
    """The first eight pictures of the embedded test split, two of each class."""
    test_set = cpixelcnn.load_split(cpixelcnn.DataConfig(image_size=model.config.image_height), "test")
    if model.config.classes != test_set.classes:
        raise SystemExit(f"this model knows {', '.join(model.config.classes)}; name IMAGES of your own")
    return test_set.select((test_set.labels >= 0).nonzero()[:8, 0])


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Score images under a model.")
    parser.add_argument("images", nargs="*", type=Path, help="image files or folders")
    parser.add_argument("--model", help="run or checkpoint directory, weight file or shipped model")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
