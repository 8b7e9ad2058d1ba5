"""One factor at a time: trainings of cpen455 at 16 x 16, several seeds of each, paired with those of the base.

    python benchmarks/study.py DATA OUT [--seeds 1 2 3] [--epochs 3] [--only base film-none ...]

Every training is a run directory OUT/VARIANT-SEED, on one thread. Called again, it goes on where it was stopped. At the
end, or with `--table`, comes a Markdown table of all that is finished.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

SIZE = 16
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
    "ema-0.99": "--ema-decay 0.99",
    "no-class": "--early-fusion none --film none",
}


def command(*arguments: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "cpixelcnn", *arguments], check=True, env=environment, stdin=subprocess.DEVNULL
    )


def study(data: str, out: Path, variants: list[str], seeds: list[int], epochs: int) -> None:
    """Train and evaluate what is not there yet; all variants of one seed come before the next seed."""
    for seed in seeds:
        for variant in variants:
            run = out / f"{variant}-{seed}"
            if (run / "validation.npz").is_file():
                continue
            if (run / "last").exists():
                command("train", "--resume", str(run), "--no-test")
            else:
                settings = f"{BASE} {VARIANTS[variant]} --image-size {SIZE} --epochs {epochs} --eval-interval {epochs}"
                command("train", "-d", "cpen455", "-i", data, "-o", str(run), *settings.split(), "--seed", str(seed))
            evaluate = f"eval --model {run}/last -d cpen455 -i {data} --split validation --views 1"
            command(*evaluate.split(), "--save-log-likelihoods", str(run / "validation.npz"))


class Finished:
    """What one finished run has come to, on the validation images in one view."""

    def __init__(self, run: Path) -> None:
        values = np.load(run / "validation.npz")
        rows, labels = values["log_likelihoods"], values["labels"]
        own = rows[np.arange(len(labels)), labels]
        self.bits = float(-own.mean()) / (3 * SIZE**2 * math.log(2))  # per dimension
        self.nll = float((logsumexp(rows, axis=1) - own).mean())  # -log p(c | x) in nats; no class is likelier before
        self.percent = 100 * float((rows.argmax(axis=1) == labels).mean())


def table(out: Path, seeds: list[int]) -> Iterator[str]:
    """Means over seeds; differences from the base with the standard error over seeds."""
    runs = {
        variant: {
            seed: Finished(out / f"{variant}-{seed}")
            for seed in seeds
            if (out / f"{variant}-{seed}/validation.npz").is_file()
        }
        for variant in VARIANTS
    }
    yield "| Variant | Seeds | Bits/dim | To the base | Posterior NLL | To the base | Accuracy (%) | To the base |"
    yield "|---|---|---|---|---|---|---|---|"
    for variant, own in runs.items():
        paired = [(run, runs["base"][seed]) for seed, run in own.items() if seed in runs["base"]]
        if not paired:
            continue
        cells = [variant, str(len(own))]
        for figure, digits in (("bits", 3), ("nll", 2), ("percent", 1)):
            differences = [getattr(run, figure) - getattr(base, figure) for run, base in paired]
            cells += [f"{np.mean([getattr(run, figure) for run in own.values()]):.{digits}f}"]
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        study(arguments.data, arguments.out, arguments.only, arguments.seeds, arguments.epochs)
    print(*table(arguments.out, arguments.seeds), sep="\n")


if __name__ == "__main__":
    main()
