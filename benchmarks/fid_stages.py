"""Where the time of an FID goes, by stage and as whole commands: this package against pytorch-fid.

    python benchmarks/fid_stages.py [--images 24] [--dims 2048] [--threads 1] [--commands]

Both read the same PNG files of random 32x32 images, half of them samples, half references, and have the same random
Inception weights, since the time does not depend on their values. With --commands, `cpixelcnn fid` and `python -m
pytorch_fid` also run as commands, start-up included: the first without a cache, and a second time with the references
in it. All times are of the processor, so that what else the machine does matters less; the figures to quote are the
ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytorch_fid.inception
import torch
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance, get_activations
from torch import nn
from torchvision.transforms.functional import to_tensor

from cpixelcnn.datasets.reading import read_images
from cpixelcnn.fid.features import choose_features, extract_features
from cpixelcnn.fid.frechet import GaussianStatistics, frechet_distance
from cpixelcnn.fid.weight_files import INCEPTION_FILE

STAGES = ("reading", "features", "statistics", "distance")


class Stopwatch:
    """Processor seconds of each stage, in the order of the stages."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        begin = time.process_time()
        result = function(*arguments)
        self.seconds.append(time.process_time() - begin)
        return result


def write_images(folder: Path, count: int, seed: int) -> list[Path]:
    folder.mkdir()
    generator = np.random.default_rng(seed)
    paths = [folder / f"{i:05}.png" for i in range(count)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return paths


def write_weights(path: Path) -> None:
    """Random weights in the layout of pytorch-fid's file, at the place where it looks for them."""
    path.parent.mkdir(parents=True)
    loading = patch.object(nn.Module, "load_state_dict")
    with loading, patch.object(pytorch_fid.inception, "load_state_dict_from_url"):
        torch.save(pytorch_fid.inception.fid_inception_v3().state_dict(), path)


def ours(sides: list[list[Path]], weights: Path, dims: int) -> tuple[float, list[float]]:
    network = choose_features("inception", dims, weights)
    watch = Stopwatch()
    images = watch(lambda: [read_images(side, channels=3, height=None, width=None).images for side in sides])
    features = watch(lambda: [extract_features(network, side) for side in images])
    statistics = watch(lambda: [GaussianStatistics.from_features(side) for side in features])
    return watch(frechet_distance, *statistics), watch.seconds


def theirs(sides: list[list[Path]], weights: Path, dims: int) -> tuple[float, list[float]]:
    """pytorch-fid reads while it extracts, so that reading is measured apart and taken off."""
    state = torch.load(weights, weights_only=True)
    with patch.object(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: state):
        network = pytorch_fid.inception.InceptionV3([pytorch_fid.inception.InceptionV3.BLOCK_INDEX_BY_DIM[dims]])
    watch = Stopwatch()
    watch(lambda: [torch.stack([to_tensor(Image.open(path).convert("RGB")) for path in side]) for side in sides])
    with redirect_stderr(StringIO()):  # its progress bar
        features = watch(lambda: [get_activations(side, network, 50, dims, "cpu", 0) for side in sides])
    watch.seconds[1] -= watch.seconds[0]
    moments = watch(lambda: [(side.mean(axis=0), np.cov(side, rowvar=False)) for side in features])
    return watch(lambda: float(calculate_frechet_distance(*moments[0], *moments[1]))), watch.seconds


def run_commands(folder: Path, weights: Path, dims: int) -> list[tuple[str, float]]:
    """Processor seconds of the commands, in processes of their own."""
    caches = {"XDG_CACHE_HOME": str(folder / "cache"), "TORCH_HOME": str(folder / "torch")}
    common = ["--dims", str(dims), "--device", "cpu"]
    own = ["-m", "cpixelcnn", "fid", "--samples", str(folder / "samples"), "--reference", str(folder / "references")]
    own += ["--weights", str(weights), *common]
    other = ["-m", "pytorch_fid", str(folder / "samples"), str(folder / "references"), "--num-workers", "0", *common]
    times = []
    for name, arguments in (("cpixelcnn", own), ("cpixelcnn, again", own), ("pytorch-fid", other)):
        begin = os.times()
        subprocess.run([sys.executable, *arguments], env=os.environ | caches, check=True, capture_output=True)
        end = os.times()
        spent = end.children_user + end.children_system - begin.children_user - begin.children_system
        times.append((name, spent))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--commands", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = folder / "torch" / "hub" / "checkpoints" / INCEPTION_FILE
        write_weights(weights)
        sides = [
            write_images(folder / side, arguments.images // 2, i) for i, side in enumerate(("samples", "references"))
        ]
        value, our_seconds = ours(sides, weights, arguments.dims)
        their_value, their_seconds = theirs(sides, weights, arguments.dims)
        print(f"{arguments.images} images, {arguments.dims} dimensions; distances {value:.6g} and {their_value:.6g}")
        print("processor seconds")
        print(f"{'stage':12}{'cpixelcnn':>12}{'pytorch-fid':>14}{'ratio':>8}")
        rows = [*zip(STAGES, our_seconds, their_seconds, strict=True), ("all", sum(our_seconds), sum(their_seconds))]
        for stage, mine, other in rows:
            print(f"{stage:12}{mine:10.3f} s{other:12.3f} s{other / max(mine, 1e-4):8.1f}")
        if arguments.commands:
            for command, seconds in run_commands(folder, weights, arguments.dims):
                print(f"{command:18}{seconds:8.1f} s as a command", flush=True)


if __name__ == "__main__":
    main()
