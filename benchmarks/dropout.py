"""One training step with the package's dropout against the same step with masks that torch draws, on this CPU.

    python benchmarks/dropout.py [--nr-filters 40] [--batch-size 16] [--steps 10]

The two are timed in turn, pair by pair, in the same run; the figure to quote is the median ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from cpixelcnn import ModelConfig, PixelCNN
from cpixelcnn.device import choose_precision, network_precision
from cpixelcnn.model.layers import ElementDropout
from cpixelcnn.model.mixture import DiscretizedLogisticMixture, scale_pixels


class TorchDropout(ElementDropout):
    """The mask as torch draws it."""

    def keep(self, x: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(x).bernoulli_(1.0 - self.p)


def step_seconds(model: PixelCNN, images: torch.Tensor, labels: torch.Tensor, precision: str) -> float:
    """Seconds of one forward and backward pass."""
    started = time.perf_counter()
    with network_precision(precision, images.device):
        parameters = model(scale_pixels(images), labels)
    (-DiscretizedLogisticMixture(parameters, 3).log_prob(images).mean()).backward()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nr-filters", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()

    precision = choose_precision("auto", torch.device("cpu"))
    images = torch.randint(0, 256, (arguments.batch_size, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 4, (arguments.batch_size,))
    config = ModelConfig(nr_filters=arguments.nr_filters, classes=("a", "b", "c", "d"))
    ours, theirs = PixelCNN(config), PixelCNN(config)
    for module in list(theirs.modules()):
        for name, child in module.named_children():
            if isinstance(child, ElementDropout):
                setattr(module, name, TorchDropout(child.p))
    pairs = []
    for i in range(arguments.steps + 2):
        pair = (
            step_seconds(ours, images, labels, precision.name),
            step_seconds(theirs, images, labels, precision.name),
        )
        if i >= 2:  # the first two warm up
            pairs.append(pair)
    print(
        f"1/{arguments.nr_filters}/5, batch {arguments.batch_size}, {precision.name}, {torch.get_num_threads()} threads"
    )
    print(f"ElementDropout  {statistics.median(a for a, _ in pairs) * 1e3:8.1f} ms a step")
    print(f"torch           {statistics.median(b for _, b in pairs) * 1e3:8.1f} ms a step")
    print(f"ratio           {statistics.median(b / a for a, b in pairs):8.2f}")


if __name__ == "__main__":
    main()
