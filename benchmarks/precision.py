"""Whether training in bfloat16 costs likelihood: the same short training in float32 and in bfloat16.

    python benchmarks/precision.py [--steps 1200] [--nr-filters 24] [--batch-size 8] [--seed 0]

Both see the same images in the same order and the same dropout, at a rate that falls to zero along a cosine. Their
moving averages are evaluated in float32 on the first 200 validation images of the embedded set.
"""

from __future__ import annotations

import argparse
import math

import torch

from cpixelcnn import DataConfig, DiscretizedLogisticMixture, ImageSet, ModelConfig, PixelCNN, bits_per_dim, load_split
from cpixelcnn.device import network_precision
from cpixelcnn.model.mixture import scale_pixels
from cpixelcnn.training.ema import ExponentialMovingAverage

LR, EMA_DECAY, EVALUATED = 2e-3, 0.995, 200


def train(images: ImageSet, precision: str, arguments: argparse.Namespace) -> PixelCNN:
    """The moving average at the end of the training."""
    torch.manual_seed(arguments.seed)
    config = ModelConfig(classes=images.classes, nr_resnets=1, nr_filters=arguments.nr_filters, nr_logistic_mix=5)
    model = PixelCNN(config).to(memory_format=torch.channels_last)
    model.initialise(images.images[:64], images.labels[:64])
    average = ExponentialMovingAverage(model, EMA_DECAY)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    model.train()
    for step in range(arguments.steps):
        optimiser.param_groups[0]["lr"] = LR * 0.5 * (1.0 + math.cos(math.pi * step / arguments.steps))
        torch.manual_seed(step + 10**6 * arguments.seed)
        chosen = torch.randint(0, len(images), (arguments.batch_size,))
        x, labels = images.images[chosen], images.labels[chosen]
        optimiser.zero_grad()
        with network_precision(precision, x.device):
            parameters = model(scale_pixels(x), labels)
        log_prob = DiscretizedLogisticMixture(parameters, config.image_channels).log_prob(x)
        (-log_prob.sum() / (len(x) * config.nr_dimensions * math.log(2))).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update(model, step + 1)
    return average.model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--nr-filters", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    training, validation = (load_split(DataConfig(), split) for split in ("train", "validation"))
    for precision in ("float32", "bfloat16"):
        model = train(training, precision, arguments)
        density = bits_per_dim(model, validation.images[:EVALUATED], validation.labels[:EVALUATED])
        print(f"{precision:>8}  {density.bpd:.4f} bits/dim after {arguments.steps} steps", flush=True)


if __name__ == "__main__":
    main()
