"""Frechet distance of few samples in many dimensions: the nuclear norm of a small matrix against pytorch-fid's root.

    python benchmarks/frechet_distance.py [--samples 100] [--references 519] [--dims 2048]

Both are computed from the same features in the same run; the figure to quote is the ratio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from pytorch_fid.fid_score import calculate_frechet_distance

from cpixelcnn.fid.frechet import GaussianStatistics, frechet_distance


def seconds(function: Callable[[], float], repeats: int) -> tuple[float, float]:
    """The value of a function and the shortest of its running times."""
    times, value = [], 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        value = function()
        times.append(time.perf_counter() - started)
    return value, min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--references", type=int, default=519)
    parser.add_argument("--dims", type=int, default=2048)
    arguments = parser.parse_args()

    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(arguments.samples, arguments.dims, generator=generator)
    references = 1.1 * torch.randn(arguments.references, arguments.dims, generator=generator) + 0.1

    def ours() -> float:
        return frechet_distance(GaussianStatistics.from_features(samples), GaussianStatistics.from_features(references))

    def theirs() -> float:
        moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in (samples.numpy(), references.numpy())]
        return float(calculate_frechet_distance(*moments[0], *moments[1]))

    our_value, our_time = seconds(ours, 5)
    their_value, their_time = seconds(theirs, 1)
    print(f"{arguments.samples} samples, {arguments.references} references, {arguments.dims} dimensions")
    print(f"cpixelcnn     {our_value:12.4f}  {our_time * 1e3:10.1f} ms")
    print(f"pytorch-fid   {their_value:12.4f}  {their_time * 1e3:10.1f} ms")
    print(f"ratio         {their_time / our_time:12.0f}")


if __name__ == "__main__":
    main()
