"""How long sampling takes: the incremental sampler against one forward pass and against the naive sampler.

    python benchmarks/sampling.py [--model 5/108/10 ...] [--batch-size 16 64 ...] [--device cpu] [--precision float32]

For each model (nr_resnets/nr_filters/nr_logistic_mix, random weights, 32 x 32 RGB, four classes mixed) and batch size:

    forward      one float32 forward pass over the batch, median of several
    incremental  the whole batch of images, median of several, the folding of the weights included
    naive        the network once for every pixel: median of a few pixel steps, times 1,024
    limit        the arithmetic of one forward pass at the speed of this device's own large matrix products

Each is measured in a process of its own, one after the other, so that peak memory is that of the one thing alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from cpixelcnn import ModelConfig, PixelCNN, sample
from cpixelcnn.model.mixture import scale_pixels
from cpixelcnn.sampling.naive import NaivePredictor
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.pixel_rules import MixtureSampler, Temperature

SIZE = 32
PIXELS = SIZE * SIZE
NAIVE_STEPS = 5


@dataclass(frozen=True)
class Task:
    """What one process measures."""

    model: str
    batch_size: int
    device: str
    precision: str
    repeats: int
    threads: int


def make_model(task: Task) -> PixelCNN:
    nr_resnets, nr_filters, nr_logistic_mix = map(int, task.model.split("/"))
    torch.manual_seed(0)
    config = ModelConfig(
        classes=("a", "b", "c", "d"),
        image_height=SIZE,
        image_width=SIZE,
        nr_resnets=nr_resnets,
        nr_filters=nr_filters,
        nr_logistic_mix=nr_logistic_mix,
    )
    model = PixelCNN(config).eval()
    model.initialise(torch.randint(0, 256, (8, 3, SIZE, SIZE), dtype=torch.uint8), torch.arange(8) % 4)
    return model.to(task.device)


def seconds_of(work: Callable[[], object], repeats: int, device: str) -> float:
    """Median seconds, after one run to warm up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def measure_forward(task: Task) -> float:
    model = make_model(task)
    x = scale_pixels(torch.randint(0, 256, (task.batch_size, 3, SIZE, SIZE), dtype=torch.uint8)).to(task.device)
    labels = (torch.arange(task.batch_size) % 4).to(task.device)
    with torch.inference_mode():
        return seconds_of(lambda: model(x, labels), task.repeats, task.device)


def measure_incremental(task: Task) -> float:
    model = make_model(task)
    labels, options = torch.arange(task.batch_size) % 4, SamplingOptions(precision=task.precision)
    return seconds_of(
        lambda: sample(model, labels, batch_size=task.batch_size, options=options), task.repeats, task.device
    )


@torch.inference_mode()
def measure_naive(task: Task) -> float:
    model = make_model(task)
    predictor, pixel_sampler = NaivePredictor(model, task.batch_size), MixtureSampler(3, Temperature())
    predictor.begin((torch.arange(task.batch_size) % 4).to(task.device))
    predictor.load_row(SIZE // 2)
    noise = torch.rand(task.batch_size, 4, device=task.device)

    def step() -> None:
        predictor.place(7, scale_pixels(pixel_sampler.choose([predictor.parameters(7)], noise)))

    return seconds_of(step, NAIVE_STEPS, task.device) * PIXELS


@torch.inference_mode()
def measure_limit(task: Task) -> float:
    """Seconds of a forward pass's arithmetic (products and sums counted) at the speed of 2,048 x 2,048 products."""
    model = make_model(task)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, SIZE, SIZE, device=task.device), torch.zeros(1, dtype=torch.int64, device=task.device))
    side = 2048
    a, b = torch.randn(2, side, side, device=task.device)
    seconds = seconds_of(lambda: a @ b, 5, task.device)
    return task.batch_size * counter.get_total_flops() / (2 * side**3 / seconds)


MEASURES = {
    "limit": measure_limit,
    "forward": measure_forward,
    "incremental": measure_incremental,
    "naive": measure_naive,
}


def measured(name: str, task: Task) -> tuple[float, float]:
    """Seconds, and MiB of peak memory (of the process; on a GPU, of what was allocated there)."""
    torch.set_num_threads(task.threads)
    seconds = MEASURES[name](task)
    if task.device.startswith("cuda"):
        return seconds, torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["1/40/5", "5/108/10"])
    parser.add_argument("--batch-size", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="float32", help="of the incremental sampler")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--skip", nargs="*", default=[], choices=list(MEASURES), help="what not to measure")
    arguments = parser.parse_args()

    where = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{where}, torch {torch.__version__}, incremental sampler in {arguments.precision}; seconds (peak MiB)")
    names = [name for name in MEASURES if name not in arguments.skip]
    print(f"{'model':>10} {'batch':>6}" + "".join(f"{name:>18}" for name in names) + "   incr/forward   naive/incr")
    context = multiprocessing.get_context("spawn")
    for model in arguments.model:
        for batch_size in arguments.batch_size:
            task = Task(
                model, batch_size, arguments.device, arguments.precision, arguments.repeats, torch.get_num_threads()
            )
            results = {}
            for name in names:
                with context.Pool(1) as pool:
                    results[name] = pool.apply(measured, (name, task))
            line = f"{model:>10} {batch_size:>6}"
            line += "".join(f"{seconds:10.2f} ({peak:5.0f})" for seconds, peak in results.values())
            for upper, lower in (("incremental", "forward"), ("naive", "incremental")):
                ratio = results[upper][0] / results[lower][0] if {upper, lower} <= set(results) else float("nan")
                line += f"{ratio:13.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
