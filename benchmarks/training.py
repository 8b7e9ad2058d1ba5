"""How fast training is, and how much memory it takes: cpixelcnn against a plain loop written from the paper.

    python benchmarks/training.py [--model 1/40/5 5/108/10 ...] [--batch-size 16] [--device cpu] [--starter FOLDER]

For each model (nr_resnets/nr_filters/nr_logistic_mix, random weights, random 32 x 32 RGB images):

    plain      benchmarks/plain_pixelcnn.py: float32, eager, torch's weight norm, textbook likelihood, torch's Adam
    starter    the same with the network and loss of a folder with the public course starter code (model.py, utils.py)
    float32    this package's step in float32: class conditioning, clipping and moving average included, which the
    bfloat16   others do not have; and in bfloat16
    recompute  the latter with `--recompute-activations`

Reported are images a second (median of the steps), TFLOP/s of the network (products and sums of forward and backward,
as counted), their share of the speed of large matrix products of that precision on this device, measured in the same
process, and the peak memory of the process (on a GPU, of what was allocated there). Each is measured in a process of
its own, all in turn, `--rounds` times, since machines are not equally fast at all times: the best round counts.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

SIZE = 32
KINDS = ["plain", "starter", "float32", "bfloat16", "recompute"]


@dataclass(frozen=True)
class Task:
    """What one process measures."""

    kind: str
    model: str
    batch_size: int
    device: str
    steps: int
    starter: str
    threads: int


@dataclass(frozen=True)
class Measured:
    """Of one process."""

    images_per_second: float
    flops: float
    ceiling: float
    peak_mib: float


def foreign_step(task: Task, images: torch.Tensor) -> Callable[[], float]:
    """A plain loop's step: the one written here, or the starter code's."""
    sizes = [int(number) for number in task.model.split("/")]
    if task.kind == "starter":
        sys.path.insert(0, task.starter)
        from model import PixelCNN as Network  # type: ignore[import-not-found]
        from utils import discretized_mix_logistic_loss as loss_of  # type: ignore[import-not-found]
    else:
        from plain_pixelcnn import PlainPixelCNN as Network
        from plain_pixelcnn import textbook_loss as loss_of
    model = Network(*sizes).to(task.device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-4)
    x = images.float() / 127.5 - 1.0

    def step() -> float:
        optimiser.zero_grad()
        loss = loss_of(x, model(x))
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def our_step(task: Task, images: torch.Tensor) -> Callable[[], float]:
    """This package's step, with all that its training loop does to the weights."""
    from cpixelcnn import ModelConfig, PixelCNN
    from cpixelcnn.device import network_precision
    from cpixelcnn.model.likelihood import DiscretizedLogisticMixture, to_unit_interval
    from cpixelcnn.training.ema import ExponentialMovingAverage

    nr_resnets, nr_filters, nr_logistic_mix = (int(number) for number in task.model.split("/"))
    config = ModelConfig(
        classes=("a", "b", "c", "d"), nr_resnets=nr_resnets, nr_filters=nr_filters, nr_logistic_mix=nr_logistic_mix
    )
    model = PixelCNN(config).to(task.device).to(memory_format=torch.channels_last).train()
    labels = torch.arange(len(images), device=task.device) % 4
    model.initialise(images[:8], labels[:8])
    model.recompute_activations(task.kind == "recompute")
    precision = "float32" if task.kind == "float32" else "bfloat16"
    average = ExponentialMovingAverage(model, 0.999)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-4, fused=True)

    def step() -> float:
        optimiser.zero_grad()
        with network_precision(precision, images.device):
            parameters = model(to_unit_interval(images), labels)
        loss = -DiscretizedLogisticMixture(parameters, 3).log_prob(images).sum()
        loss = loss / (len(images) * config.nr_dimensions * math.log(2))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update(model, 1)
        return float(loss.detach())

    return step


def measure(task: Task) -> Measured:
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (task.batch_size, 3, SIZE, SIZE), dtype=torch.uint8).to(task.device)
    step = (foreign_step if task.kind in ("plain", "starter") else our_step)(task, images)
    step()
    seconds = []
    for _ in range(task.steps):
        started = time.perf_counter()
        step()  # ends with reading the loss, hence when all is done
        seconds.append(time.perf_counter() - started)
    if task.device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    median = statistics.median(seconds)
    return Measured(task.batch_size / median, flops_of(task) / median, ceiling_of(task), peak)


def flops_of(task: Task) -> float:
    """Operations of a step: three times those of a forward pass of the plain network."""
    from plain_pixelcnn import PlainPixelCNN

    network = PlainPixelCNN(*(int(number) for number in task.model.split("/"))).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, SIZE, SIZE))
    return 3.0 * task.batch_size * counter.get_total_flops()


def ceiling_of(task: Task) -> float:
    """Operations a second of products of large square matrices, in the precision of the task."""
    side = 8192 if task.device.startswith("cuda") else 2048
    dtype = torch.bfloat16 if task.kind in ("bfloat16", "recompute") else torch.float32
    a, b = torch.randn(2, side, side, device=task.device).to(dtype)
    best = math.inf
    for _ in range(6):
        started = time.perf_counter()
        product = a @ b
        float(product[0, 0])
        best = min(best, time.perf_counter() - started)
    return 2.0 * side**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["1/40/5", "5/108/10"])
    parser.add_argument("--batch-size", nargs="+", type=int, default=[16])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="what to measure")
    parser.add_argument("--starter", default="", help="a folder with the public course starter code")
    arguments = parser.parse_args()

    where = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    kinds = [kind for kind in KINDS if kind in arguments.only and (kind != "starter" or arguments.starter)]
    print(f"{where}, torch {torch.__version__}")
    print(
        f"{'model':>10} {'batch':>6} {'':>10} {'images/s':>9} {'to plain':>9} {'TFLOP/s':>8} {'of peak':>8} {'MiB':>7}"
    )
    context = multiprocessing.get_context("spawn")
    for model in arguments.model:
        for batch_size in arguments.batch_size:
            best: dict[str, Measured] = {}
            for _ in range(arguments.rounds):
                for kind in kinds:
                    task = Task(
                        kind,
                        model,
                        batch_size,
                        arguments.device,
                        arguments.steps,
                        arguments.starter,
                        torch.get_num_threads(),
                    )
                    with context.Pool(1) as pool:
                        result = pool.apply(measure, (task,))
                    if kind not in best or result.images_per_second > best[kind].images_per_second:
                        best[kind] = result
            for kind, result in best.items():
                ratio = result.images_per_second / best["plain"].images_per_second if "plain" in best else math.nan
                print(
                    f"{model:>10} {batch_size:>6} {kind:>10} {result.images_per_second:9.2f} {ratio:9.2f} "
                    f"{result.flops / 1e12:8.3f} {result.flops / result.ceiling:8.1%} {result.peak_mib:7.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
