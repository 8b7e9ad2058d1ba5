"""What the number of threads is worth beside other busy processes, and what `--threads auto` makes of it.

    python benchmarks/threads.py [--busy 0 1 3] [--seconds 8]

For each number of busy processes: images/s of 1/24/5 with batches of 8 at 32x32, with one thread, with all that torch
has, and with the number that "auto" chooses (measured in its turn, within the same load).
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import torch

from cpixelcnn import ImageSet, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.training.loop import Call, Training
from cpixelcnn.training.threads import threads_restored

BATCH_SIZE = 8


def keep_busy() -> None:
    while True:
        sum(range(10_000))


def speed(threads: str, seconds: float) -> tuple[float, int]:
    """Images/s of the steps of a training, and the threads that it chose."""
    images = torch.randint(0, 256, (4000, 3, 32, 32), dtype=torch.uint8)
    classes = ("a", "b", "c", "d")
    train_set = ImageSet(images, torch.arange(len(images)) % 4, classes, "random", "train")
    model = ModelConfig(nr_resnets=1, nr_filters=24, classes=classes, dropout=0.0)
    config = RunConfig(model, train=TrainConfig(batch_size=BATCH_SIZE, precision="float32", threads=threads))
    with threads_restored(), tempfile.TemporaryDirectory() as scratch:
        training = Training(config, train_set, train_set, Call(Path(scratch), torch.device("cpu")))
        indices, steps, started = torch.arange(BATCH_SIZE), 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            training.take_step(indices, 0, 0, 1e-4).tolist()
            steps += 1
        return steps * BATCH_SIZE / (time.perf_counter() - started), torch.get_num_threads()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    available = torch.get_num_threads()
    print(f"{'busy':>4}  {'1 thread':>9}  {f'{available} threads':>9}  {'auto':>9}")
    for busy in options.busy:
        others = [multiprocessing.get_context("spawn").Process(target=keep_busy, daemon=True) for _ in range(busy)]
        for other in others:
            other.start()
        one, all_of_them, auto = (speed(threads, options.seconds) for threads in ("1", str(available), "auto"))
        for other in others:
            other.terminate()
        print(f"{busy:>4}  {one[0]:>9.1f}  {all_of_them[0]:>9.1f}  {auto[0]:>9.1f} ({auto[1]})")


if __name__ == "__main__":
    main()
