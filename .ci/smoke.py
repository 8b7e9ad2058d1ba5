"""The six commands on tiny images, one after the other: each starts, finds its packages, and does its work.

Each in a process of its own, which finds nothing imported but torch, the import of which takes longest.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile

import torch  # noqa: F401 (for the processes that are forked from this one)

COMMANDS = (
    "train --image-size 8 --train-size 32 --nr-filters 4 --nr-logistic-mix 2 --epochs 1 --batch-size 8 "
    "--eval-images 8 --no-test --out run",
    "eval --model run --split validation",
    "bpd --model run --split train",
    "sample --model run --per-class 1 --out samples",
    "classify samples --model run",
    "fid --samples samples --reference samples --features efficientnet-lite0",
)


def run(command: str) -> None:
    """The command as it is installed; ends as it ends."""
    from cpixelcnn.cli.interrupt import main

    sys.argv = ["cpixelcnn", *command.split(), "--quiet"]
    main()


with tempfile.TemporaryDirectory() as place:
    os.chdir(place)
    os.environ["MPLCONFIGDIR"] = place
    for command in COMMANDS:
        process = multiprocessing.get_context("fork").Process(target=run, args=(command,))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"cpixelcnn {command} ended with {process.exitcode}")
