"""One factor at a time: trainings of cpen455 at 16 x 16, several seeds of each, paired with those of the base.

    python benchmarks/study.py DATA OUT [--seeds 1 2 3] [--epochs 3] [--only base film-none ...]

Every training is a run directory OUT/VARIANT-SEED, on one thread. Called again with the same arguments it goes on: a
run that was interrupted resumes from its last epoch. At the end comes a Markdown table of all that is finished in OUT.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import cpixelcnn
from cpixelcnn.evaluation.calibration import cross_validated

SIZE = 16
SCORED = "validation.npz"  # the log-likelihoods of a finished run
BASE = (
    "--preset small --dropout 0 -b 16 --schedule cosine --lr 2e-3 --warmup-steps 200 --beta1 0.9 --beta2 0.999 "
    "--ema-decay 0.999 --precision float32 --horizontal-flip --threads 1 --no-test"
)
VARIANTS = {
    "base": "",
    "fusion-vector": "--early-fusion vector",
    "fusion-none": "--early-fusion none",
    "film-mlp": "--film mlp",
    "film-none": "--film none",
    "no-flips": "--no-horizontal-flip",
    "dropout-0.1": "--dropout 0.1",
    "dropout-0.3": "--dropout 0.3",
    "mixture-10": "--nr-logistic-mix 10",
    "mixture-3": "--nr-logistic-mix 3",
    "deeper": "--nr-resnets 2 --nr-filters 28",
    "batch-8": "-b 8",
    "lr-4e-3": "--lr 4e-3",
    "lr-1e-3": "--lr 1e-3",
    "no-clipping": "--clip-grad-norm 0",
    "clipping-50": "--clip-grad-norm 50",
    "no-average": "--ema-decay 0",
}


def command(*arguments: str) -> None:
    """Run a command of cpixelcnn, and end as it ends if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "cpixelcnn", *arguments]
    with subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL) as process:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:  # which the command has received as well, and saves
                continue
    if code:
        sys.exit(code)


def study(data: str, out: Path, variants: list[str], seeds: list[int], epochs: int) -> None:
    """Train and evaluate what is not there yet; all variants of one seed come before the next seed."""
    for seed in seeds:
        for variant in variants:
            run = out / f"{variant}-{seed}"
            if (config := run / "config.json").is_file():
                there = json.loads(config.read_text(encoding="utf-8"))["train"]["epochs"]
                if there != epochs:
                    sys.exit(f"{run} is a training of {there} epochs, not {epochs}; choose another folder for it")
            if (run / SCORED).is_file():
                continue
            if (run / "last").exists():
                command("train", "--resume", str(run), "--no-test")
            else:
                settings = f"{BASE} {VARIANTS[variant]} --image-size {SIZE} --epochs {epochs} --eval-interval {epochs}"
                command("train", "-d", "cpen455", "-i", data, "-o", str(run), *settings.split(), "--seed", str(seed))
            scored = ["--views", "1", "--save-log-likelihoods", str(run / SCORED)]
            command("eval", "--model", str(run / "last"), "-d", "cpen455", "-i", data, "--split", "validation", *scored)


class Finished:
    """What one finished run has come to, on the validation images in one view."""

    def __init__(self, run: Path) -> None:
        values = np.load(run / SCORED)
        rows, labels = (torch.from_numpy(values[name]) for name in ("log_likelihoods", "labels"))
        own = rows.gather(1, labels[:, None])
        calibrated = cross_validated(cpixelcnn.load(run / "last").config, rows, labels)
        self.bits = float(-own.mean()) / (3 * SIZE**2 * math.log(2))  # per dimension
        self.nll = float(-calibrated.gather(1, labels[:, None]).mean())  # in nats, after one temperature, five-fold
        self.percent = 100 * float((rows.argmax(dim=1) == labels).double().mean())


def table(out: Path) -> Iterator[str]:
    """Means over the seeds that the base has too; differences from it with their standard error over seeds."""
    yield "| Variant | Seeds | Bits/dim | To the base | Calibrated NLL | To the base | Accuracy (%) | To the base |"
    yield "|---|---|---|---|---|---|---|---|"
    for variant in VARIANTS:
        runs = sorted(path.parent for path in out.glob(f"{variant}-[0-9]*/{SCORED}"))
        bases = [out / f"base-{run.name.rpartition('-')[2]}" for run in runs]
        pairs = [
            (Finished(run), Finished(base)) for run, base in zip(runs, bases, strict=True) if (base / SCORED).is_file()
        ]
        if not pairs:
            continue
        cells = [variant, str(len(pairs))]
        for figure, digits in (("bits", 3), ("nll", 3), ("percent", 1)):
            values = [getattr(run, figure) for run, _ in pairs]
            differences = [getattr(run, figure) - getattr(base, figure) for run, base in pairs]
            cells += [f"{np.mean(values):.{digits}f}"]
            cells += [
                "" if variant == "base" else f"{np.mean(differences):+.{digits}f} ± {error(differences):.{digits}f}"
            ]
        yield "| " + " | ".join(cells) + " |"


def error(values: list[float]) -> float:
    """Standard error of a mean; nan for a single value."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="directory of cpen455")
    parser.add_argument("out", type=Path, help="where the run directories come")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of each variant; 1 2 3 by default")
    parser.add_argument("--epochs", type=int, default=3, help="of each training; 3 by default")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT",
                        help=f"what to train; all by default: {', '.join(VARIANTS)}")  # fmt: skip
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        study(arguments.data, arguments.out, arguments.only, arguments.seeds, arguments.epochs)
    if not list(arguments.out.glob(f"base-*/{SCORED}")):
        sys.exit(
            f"no base is finished in {arguments.out}, so there is nothing to compare with; train it with --only base"
        )
    print(*table(arguments.out), sep="\n")


if __name__ == "__main__":
    main()
