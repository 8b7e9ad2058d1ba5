"""Gradients of float32 convolutions on this CPU: the package's against the library's, for the shapes of a network.

    python benchmarks/convolution.py [--nr-filters 108] [--batch-size 16] [--rounds 7]

The shapes are those of the gated residual blocks at the three resolutions of a 32 x 32 image. Both get the same padded
inputs and make the gradients of input and weight; reported is the time of each (median of the rounds, in turn),
and the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from cpixelcnn.model.fused.convolution import NO_PADDING, Padding, convolution_gradients, padded, without_padding

KINDS: dict[str, tuple[tuple[int, int], Padding]] = {
    "2 x 3": ((2, 3), (1, 1, 1, 0)),
    "2 x 2": ((2, 2), (1, 0, 1, 0)),
    "1 x 1": ((1, 1), NO_PADDING),
}


def of_the_library(
    gradient: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, padding: Padding
) -> tuple[torch.Tensor, ...]:
    dx, dweight, _ = torch.ops.aten.convolution_backward(
        gradient, inputs, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, False]
    )
    return without_padding(dx, padding), dweight


def seconds(make: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    make(*arguments)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nr-filters", type=int, default=108)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    f, n = arguments.nr_filters, arguments.batch_size
    print(f"F = {f}, batch {n}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'kernel':>8} {'channels':>12} {'size':>5} {'library':>10} {'package':>10} {'ratio':>6}")
    for kind, (kernel, padding) in KINDS.items():
        for outs in (f, 2 * f) if padding != NO_PADDING else (f,):
            for size in (32, 16, 8):
                torch.manual_seed(0)
                inputs = padded(torch.randn(n, 2 * f, size, size), padding)
                gradient = torch.randn(n, outs, size, size)
                tensors = [
                    each.contiguous(memory_format=torch.channels_last)
                    for each in (gradient, inputs, torch.randn(outs, 2 * f, *kernel))
                ]
                pairs = [
                    (seconds(of_the_library, *tensors, padding), seconds(convolution_gradients, *tensors, padding))
                    for _ in range(arguments.rounds + 1)
                ][1:]
                library, package = (statistics.median(side) for side in zip(*pairs, strict=True))
                ratio = statistics.median(a / b for a, b in pairs)
                print(
                    f"{kind:>8} {f'{2 * f} -> {outs}':>12} {size:>5} {library * 1e3:7.1f} ms {package * 1e3:7.1f} ms "
                    f"{ratio:6.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
