"""Make the reference features of cpen455 that come with the package, for `fid` where its images are not at hand.

python docs/ship_features.py DATA_DIR

They are features of EfficientNet-Lite0 of the 519 test images, and for the floor of the first 50 training images of
each class; all at 32x32, as the shipped model of photographs makes them, in float16. No image can be had from them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.datasets.splits import balanced_subset
from cpixelcnn.fid.feature_sets import FeatureSet, save_features
from cpixelcnn.fid.features import choose_features, extract_features

SHIPPED = Path(__file__).resolve().parents[1] / "src" / "cpixelcnn" / "pretrained"
SIZE = 32
FLOOR_PER_CLASS = 50


def main(data_dir: str) -> None:
    """Write both files beside the shipped models."""
    network = choose_features("efficientnet-lite0")
    data = DataConfig(dataset="cpen455", data_dir=data_dir, image_size=SIZE)
    test, train = load_split(data, "test"), load_split(data, "train")
    floor = train.select(balanced_subset(train.labels, FLOOR_PER_CLASS * len(train.classes)))
    for images, name in ((test, "test"), (floor, "test-floor")):
        path = SHIPPED / f"cpen455-{name}-{SIZE}-{network.name}.features.npz"
        save_features(path, _halves(images, extract_features(network, images.images)), network)
        print(f"{path.name}: {len(images)} images; {path.stat().st_size:,} bytes")


def _halves(images: ImageSet, features: torch.Tensor) -> FeatureSet:
    return FeatureSet.of(images, features.to(torch.float16))


if __name__ == "__main__":
    main(*sys.argv[1:])
