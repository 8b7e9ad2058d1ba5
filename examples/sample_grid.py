"""Draw images from a model and save them as one picture with a captioned row for each class.

    python examples/sample_grid.py [--model NAME|PATH] [--class panda ...] [--per-class 4] [--seed 0] [--out grid.png]

Every activation of the network is computed once for an image, so that drawing one takes a few times as long as scoring
it, and many together less than that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cpixelcnn
from cpixelcnn.plots.grids import save_grid


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    model = cpixelcnn.load(options.model)  # by default the newest finished run under runs/, else the shipped model
    chosen = options.classes or model.config.classes
    labels = [name for name in chosen for _ in range(options.per_class)]

    samples = cpixelcnn.sample(model, labels, seed=options.seed)
    save_grid(options.out, samples.images, columns=options.per_class, captions=chosen)
    print(f"{len(labels)} images in {samples.seconds:.1f} s; {options.out} has a row for each of: {', '.join(chosen)}")

    # An image follows from the model, its class and its own seed, so any of them can be made again alone:
    # cpixelcnn.sample(model, labels[-1:], seeds=samples.seeds[-1:])
    print(f"seeds: {', '.join(map(str, samples.seeds))}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw images from a model and save a grid of them.")
    parser.add_argument("--model", help="run or checkpoint directory, weight file or shipped model")
    parser.add_argument("--class", dest="classes", action="append", help="a class by name; may be repeated")
    parser.add_argument("--per-class", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("grid.png"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
