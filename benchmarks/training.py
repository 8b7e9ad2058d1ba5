"""How fast training is, and how much memory it takes: cpixelcnn against a plain loop written from the paper.

    python benchmarks/training.py [--model 1/40/5 5/108/10 ...] [--batch-size 16] [--device cpu] [--starter FOLDER]

For each model (nr_resnets/nr_filters/nr_logistic_mix, random weights, random 32 x 32 RGB images):

    plain      benchmarks/plain_pixelcnn.py: float32, eager, torch's weight norm, textbook likelihood, torch's Adam
    starter    the same with the network and loss of a folder with the public course starter code (model.py, utils.py)
    float32    the step of this package's training loop in float32: class conditioning, clipping and moving average
    bfloat16   included, which the others do not have; and in bfloat16 (unless named with --only, where `auto` takes it)
    recompute  in the precision that `auto` takes, with `--recompute-activations`
    compiled   the same with `--compile on` (unless named with --only, on GPUs alone: on a CPU it takes minutes)

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
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from cpixelcnn.device import choose_precision, freed_memory_kept

SIZE = 32
KINDS = ["plain", "starter", "float32", "bfloat16", "recompute", "compiled"]
FOREIGN = ("plain", "starter")
STEPS_BETWEEN_READINGS = {"cuda": 10}  # of the loss, which waits for the device; 1 elsewhere


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


def foreign_step(task: Task, images: torch.Tensor) -> Callable[[], torch.Tensor]:
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

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        loss = loss_of(x, model(x))
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def our_step(task: Task, images: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The step of this package's training loop."""
    from cpixelcnn import DataConfig, ImageSet, ModelConfig, RunConfig, TrainConfig
    from cpixelcnn.distributed import ALONE
    from cpixelcnn.training.batches import BatchSource
    from cpixelcnn.training.objective import Objective
    from cpixelcnn.training.parallel import Agreement, ParallelNetwork
    from cpixelcnn.training.state import create_state
    from cpixelcnn.training.step import TrainingStep
    from cpixelcnn.training.stopping import StopRequest, TimeBudget

    device, classes = torch.device(task.device), ("a", "b", "c", "d")
    nr_resnets, nr_filters, nr_logistic_mix = (int(number) for number in task.model.split("/"))
    config = RunConfig(
        ModelConfig(nr_resnets=nr_resnets, nr_filters=nr_filters, nr_logistic_mix=nr_logistic_mix, classes=classes),
        DataConfig(),
        TrainConfig(
            batch_size=len(images),
            precision=task.kind if task.kind in ("float32", "bfloat16") else "auto",
            recompute_activations=task.kind == "recompute",
        ),
    )
    train_set = ImageSet(images.cpu(), torch.arange(len(images)) % len(classes), classes, "random", "train")
    state = create_state(config, train_set, device)
    source = BatchSource(train_set, config.train, device)
    objective = Objective(config, choose_precision(config.train.precision, device).name, device)
    parallel = ParallelNetwork(state.model, ALONE)
    agreement = Agreement(ALONE, StopRequest(), TimeBudget(0.0))
    take_step = TrainingStep(config, state, source, objective, parallel, agreement)
    indices = torch.arange(len(images), device=source.images.device)
    if task.kind == "compiled":
        take_step.compile(sys.exit)
    return lambda: take_step(indices, 0, 0, 2e-4)[0]


def measure(task: Task) -> Measured:
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (task.batch_size, 3, SIZE, SIZE), dtype=torch.uint8).to(task.device)
    foreign, together = task.kind in FOREIGN, STEPS_BETWEEN_READINGS.get(torch.device(task.device).type, 1)
    seconds = []
    with nullcontext() if foreign or task.device != "cpu" else freed_memory_kept():
        step = (foreign_step if foreign else our_step)(task, images)
        float(step())
        for _ in range(task.steps):
            started = time.perf_counter()
            for _ in range(together - 1):
                step()
            float(step())  # when all is done
            seconds.append((time.perf_counter() - started) / together)
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
    name = task.kind if task.kind in ("float32", "bfloat16") else "auto"
    precision = "float32" if task.kind in FOREIGN else choose_precision(name, torch.device(task.device)).name
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.randn(2, side, side, device=task.device).to(dtype)
    best = math.inf
    for _ in range(6):
        started = time.perf_counter()
        product = a @ b
        float(product[0, 0])
        best = min(best, time.perf_counter() - started)
    return 2.0 * side**3 / best


def sensible(kind: str, arguments: argparse.Namespace) -> bool:
    """Whether to measure this, where nothing else was asked for."""
    if kind == "bfloat16":
        return choose_precision("auto", torch.device(arguments.device)).name == "bfloat16"
    return bool(arguments.starter) if kind == "starter" else kind != "compiled" or arguments.device.startswith("cuda")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["1/40/5", "5/108/10"])
    parser.add_argument("--batch-size", nargs="+", type=int, default=[16])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=KINDS, help="what to measure, against the first of them")
    parser.add_argument("--starter", default="", help="a folder with the public course starter code")
    arguments = parser.parse_args()

    where = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    kinds = arguments.only or [kind for kind in KINDS if sensible(kind, arguments)]
    print(f"{where}, torch {torch.__version__}")
    print(
        f"{'model':>10} {'batch':>6} {'':>10} {'images/s':>9} {'to ' + kinds[0]:>10} {'TFLOP/s':>8} {'of peak':>8} "
        f"{'MiB':>7}"
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
                ratio = result.images_per_second / best[kinds[0]].images_per_second
                print(
                    f"{model:>10} {batch_size:>6} {kind:>10} {result.images_per_second:9.2f} {ratio:10.2f} "
                    f"{result.flops / 1e12:8.3f} {result.flops / result.ceiling:8.1%} {result.peak_mib:7.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
