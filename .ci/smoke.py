"""The six commands on tiny images, one after the other: they find their packages, and do their work.

In one process, since most of the time of a command this small goes into the import of torch.
"""

from __future__ import annotations

import os
import sys
import tempfile

from cpixelcnn.cli.interrupt import main

COMMANDS = (
    "train --image-size 8 --train-size 32 --nr-filters 4 --nr-logistic-mix 2 --epochs 1 --batch-size 8 "
    "--eval-images 8 --no-test --out run",
    "eval --model run --split validation",
    "bpd --model run --split train",
    "sample --model run --per-class 1 --out samples",
    "classify samples --model run",
    "fid --samples samples --reference samples --features efficientnet-lite0",
)

with tempfile.TemporaryDirectory() as place:
    os.chdir(place)
    os.environ["MPLCONFIGDIR"] = place
    for command in COMMANDS:
        sys.argv = ["cpixelcnn", *command.split(), "--quiet"]
        try:
            main()
        except SystemExit as stop:
            if stop.code:
                sys.exit(f"cpixelcnn {command} ended with {stop.code}")
