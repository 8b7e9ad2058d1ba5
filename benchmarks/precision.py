"""What bfloat16 costs a training: in the gradient, in a fine-tuning, and in a training from the start.

    python benchmarks/precision.py gradients [--model tiny] [--batches 4] [--batch-size 8]
    python benchmarks/precision.py finetune [--model tiny] [--steps 120] [--lr 2e-5] [--batch-size 8]
    python benchmarks/precision.py training [--steps 1200] [--nr-filters 24] [--batch-size 8]

`gradients` compares the gradient of a shipped model with that of float32 on the same images: in bfloat16 as trainings
compute it; in bfloat16 everywhere, which rounds the weights of both ends of the network too; and in float32 with the
weights of one part of the network rounded to bfloat16. `finetune` trains a shipped model a little further, and
`training` a new one; all ways see the same images in the same order and the same dropout, and what they end with is
evaluated in float32 on the same validation images. `--model small --data-dir DIR` does it with cpen455.
"""

from __future__ import annotations

import argparse
import copy
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from cpixelcnn import DataConfig, ImageSet, ModelConfig, PixelCNN, load, load_split
from cpixelcnn.model import network
from cpixelcnn.model.fused import definitions_only
from cpixelcnn.model.layers import WeightNormConv
from cpixelcnn.training.ema import ExponentialMovingAverage

FIRST, LAST = ("u_in", "ul_in_above", "ul_in_left"), ("out",)
EVERYWHERE = "bfloat16 everywhere"


class _Rounded(torch.autograd.Function):
    """To bfloat16 and back; the gradient passes as it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.bfloat16().float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


@contextmanager
def rounded_weights(layers: list[WeightNormConv]) -> Iterator[None]:
    """While open, these layers convolve with weights and biases rounded to bfloat16, in float32 arithmetic."""

    def rounding(layer: WeightNormConv) -> Callable[..., Tensor]:
        convolve = layer.convolve
        return lambda x, weight, bias: convolve(x, _Rounded.apply(weight), _Rounded.apply(bias))

    with ExitStack() as contexts:
        contexts.enter_context(definitions_only())
        for layer in layers:
            contexts.enter_context(patch.object(layer, "convolve", rounding(layer)))
        yield


def bits_per_dim(model: PixelCNN, images: Tensor, labels: Tensor, way: str) -> Tensor:
    """Bits per dimension of a batch, computed in one of the ways of this benchmark; a scalar."""
    with ExitStack() as contexts:
        if way == EVERYWHERE:  # nothing overrules autocast at the ends of the network
            contexts.enter_context(patch.object(network, "network_precision", lambda *_: nullcontext()))
            contexts.enter_context(torch.autocast(images.device.type, torch.bfloat16))
        elif way.startswith("weights"):
            convolutions = {name: m for name, m in model.named_modules() if isinstance(m, WeightNormConv)}
            part = {"weights of the first": FIRST, "weights of the last": LAST}.get(way)
            inner = [name for name in convolutions if name not in FIRST + LAST]
            contexts.enter_context(rounded_weights([convolutions[name] for name in part or inner]))
        precision = "bfloat16" if way == "bfloat16" else "float32"
        log_probs = network.pixel_log_probs(model, images, labels, precision=precision)
    return -log_probs.sum() / (images.numel() * math.log(2))


def gradients(arguments: argparse.Namespace) -> None:
    """Print how the gradient of each way differs from that of float32: by chance, and on the average of the batches."""
    model = load(arguments.model).to(arguments.device).requires_grad_().train()
    images = split_of(arguments, "train")

    def of_each_batch(way: str) -> tuple[Tensor, Tensor]:
        """Bits/dim (batches,) and gradients (batches, parameters)."""
        bits, rows = [], []
        for number, (x, labels) in enumerate(batches(images, arguments, arguments.batches)):
            torch.manual_seed(number)
            model.zero_grad()
            loss = bits_per_dim(model, x, labels, way)
            loss.backward()
            bits.append(loss.detach().double())
            rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double())
        return torch.stack(bits), torch.stack(rows)

    exact_bits, exact = of_each_batch("float32")
    size = exact.square().sum(dim=1).mean()
    print(f"{'':24}bits/dim  cosine  length   bias")
    for way in ("bfloat16", EVERYWHERE, "weights of the first", "weights of the last", "weights between"):
        bits, found = of_each_batch(way)
        cosine = torch.cosine_similarity(exact, found, dim=1).mean()
        length = found.norm(dim=1).mean() / exact.norm(dim=1).mean()
        error, n = found - exact, len(exact)
        # The squared mean error without what chance adds to it: products of the errors of different batches.
        bias = (error.sum(dim=0).square().sum() - error.square().sum()) / (n * (n - 1)) / size
        print(f"{way:24}{(bits - exact_bits).mean():+8.4f}{cosine:+8.3f}{length:8.2f}{bias:7.3f}", flush=True)


def train(model: PixelCNN, arguments: argparse.Namespace, way: str, rate: Callable[[int], float]) -> PixelCNN:
    """Train a model in one of the ways, with the learning rate of each step; returns its moving average."""
    images = split_of(arguments, "train")
    average = ExponentialMovingAverage(model, arguments.ema_decay)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    model.train()
    for step, (x, labels) in enumerate(batches(images, arguments, arguments.steps)):
        optimiser.param_groups[0]["lr"] = rate(step)
        torch.manual_seed(step + 10**6 * arguments.seed)  # of the dropout
        optimiser.zero_grad()
        bits_per_dim(model, x, labels, way).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update(model, step + 1)
    return average.model


def finetune(arguments: argparse.Namespace) -> None:
    """Print what each way makes of a shipped model, and the difference to float32."""
    start = load(arguments.model).to(arguments.device)
    before = evaluated(start, arguments)
    print(f"{'before':24}{before.mean():8.4f}", flush=True)
    exact = before
    for way in ("float32", "bfloat16", EVERYWHERE):
        model = copy.deepcopy(start).requires_grad_()
        train(model, arguments, way, lambda step: arguments.lr)
        exact = report(way, evaluated(model.eval(), arguments), exact)


def training(arguments: argparse.Namespace) -> None:
    """Print what each way ends with from the start, after a cosine to zero, and the difference to float32."""
    images = split_of(arguments, "train")
    exact = None
    for way in ("float32", "bfloat16", EVERYWHERE):
        torch.manual_seed(arguments.seed)
        model = PixelCNN(ModelConfig(1, arguments.nr_filters, 5, classes=images.classes)).to(arguments.device)
        model.initialise(images.images[:64].to(arguments.device), images.labels[:64].to(arguments.device))
        average = train(
            model, arguments, way, lambda t: arguments.lr * (1 + math.cos(math.pi * t / arguments.steps)) / 2
        )
        exact = report(way, evaluated(average, arguments), exact)


def report(way: str, bits: Tensor, exact: Tensor | None) -> Tensor:
    """Print the mean bits/dim of a way and its difference to float32; returns what the next are compared with."""
    line = f"{way:24}{bits.mean():8.4f}"
    if way == "float32" or exact is None:
        print(line, flush=True)
        return bits
    difference = bits - exact
    print(f"{line}  {difference.mean():+.4f} +- {difference.std() / math.sqrt(len(bits)):.4f} to float32", flush=True)
    return exact


@torch.no_grad()
def evaluated(model: PixelCNN, arguments: argparse.Namespace) -> Tensor:
    """Bits/dim in float32 of the first validation images, (N,)."""
    images = split_of(arguments, "validation")
    pieces = []
    for part in torch.arange(min(arguments.evaluated, len(images))).split(50):
        x, labels = images.images[part].to(arguments.device), images.labels[part].to(arguments.device)
        pieces.append(-model.log_prob(x, labels).cpu() / (x[0].numel() * math.log(2)))
    return torch.cat(pieces)


def batches(images: ImageSet, arguments: argparse.Namespace, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """So many random batches of images and labels, the same at every call."""
    generator = torch.Generator().manual_seed(arguments.seed)
    for _ in range(count):
        chosen = torch.randint(len(images), (arguments.batch_size,), generator=generator)
        yield images.images[chosen].to(arguments.device), images.labels[chosen].to(arguments.device)


@functools.cache
def _split(data: DataConfig, split: str) -> ImageSet:
    return load_split(data, split)


def split_of(arguments: argparse.Namespace, split: str) -> ImageSet:
    """A split of cpen455 where its directory is given, else of the embedded set."""
    data = DataConfig(dataset="cpen455", data_dir=arguments.data_dir) if arguments.data_dir else DataConfig()
    return _split(data, split)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = {"gradients": gradients, "finetune": finetune, "training": training}
    parser.add_argument("what", choices=ways)
    parser.add_argument("--model", default="tiny", help="the shipped model of gradients and finetune")
    parser.add_argument("--data-dir", help="cpen455's images, instead of the embedded ones")
    parser.add_argument("--batches", type=int, default=4, help="of gradients")
    parser.add_argument("--steps", type=int, help="of finetune (120) or training (1200)")
    parser.add_argument("--lr", type=float, help="of finetune (2e-5) or training (2e-3)")
    parser.add_argument("--nr-filters", type=int, default=24, help="of training")
    parser.add_argument("--ema-decay", type=float, default=0.995, help="of training")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--evaluated", type=int, default=200, help="validation images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    from_the_start = arguments.what == "training"
    arguments.steps = arguments.steps or (1200 if from_the_start else 120)
    arguments.lr = arguments.lr or (2e-3 if from_the_start else 2e-5)
    ways[arguments.what](arguments)


if __name__ == "__main__":
    main()
