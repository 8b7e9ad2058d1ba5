"""What if no pixel could say more than so many nats for or against a class? Accuracy and NLL of such a classifier.

    python benchmarks/bounded_evidence.py DATA [--model small] [--bounds inf 4 2 1 0.5]

The evidence of a pixel is log p(x_i | x_<i, c) minus its mean over the classes, bounded to +-B nats before the pixels
are summed; two views. The posterior NLL is after one temperature, five-fold as in `cpixelcnn eval --calibrate`.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor

import cpixelcnn
from cpixelcnn.evaluation.calibration import cross_validated
from cpixelcnn.model.network import pixel_log_probs

BATCH = 64


@torch.inference_mode()
def pixel_evidence(model: cpixelcnn.PixelCNN, images: Tensor) -> Tensor:
    """log p(x_i | x_<i, c) of every pixel minus its mean over classes, in nats, (N, classes, H, W)."""
    classes = []
    for label in range(model.config.nr_classes):
        parts = [pixel_log_probs(model, part, torch.full((len(part),), label)) for part in torch.split(images, BATCH)]
        classes.append(torch.cat(parts))
    evidence = torch.stack(classes, dim=1)
    return evidence - evidence.mean(dim=1, keepdim=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="directory of cpen455")
    parser.add_argument("--model", default="small")
    parser.add_argument("--bounds", type=float, nargs="+", default=[math.inf, 4.0, 2.0, 1.0, 0.5])
    arguments = parser.parse_args()
    model = cpixelcnn.load(arguments.model).eval()
    validation = cpixelcnn.load_split(cpixelcnn.DataConfig(dataset="cpen455", data_dir=arguments.data), "validation")
    views = [pixel_evidence(model, images) for images in (validation.images, validation.images.flip(-1))]
    print(f"{arguments.model}, {len(validation)} validation images, two views")
    for bound in arguments.bounds:
        sums = torch.stack([view.clamp(-bound, bound).double().sum(dim=(2, 3)) for view in views]).mean(dim=0)
        correct = int((sums.argmax(dim=1) == validation.labels).sum())
        calibrated = cross_validated(model.config, sums, validation.labels)
        nll = -float(calibrated.gather(1, validation.labels[:, None]).mean())
        print(f"{bound:>6g} nats: {correct} right, {100 * correct / len(validation):.1f} %, posterior NLL {nll:.3f}")


if __name__ == "__main__":
    main()
