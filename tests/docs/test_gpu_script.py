"""`benchmarks/gpu.sh`: every part is run, each within its time, whatever becomes of the others. Python is simulated."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
pytestmark = pytest.mark.skipif(not shutil.which("timeout"), reason="needs bash and timeout")


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run the script with a Python that does so, and return its exit code and the file that it writes."""

    def run(python: str, **variables: str) -> tuple[int, str]:
        stand_in, file = tmp_path / "python", tmp_path / "figures.txt"
        stand_in.write_text(f"#!/bin/bash\n{python}\n")
        stand_in.chmod(0o755)
        environment = {**os.environ, "DEVICE": "cpu", "PYTHON": str(stand_in), **variables}
        done = subprocess.run([SCRIPT, file], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == file.read_text() + f"written to {file}\n"
        return done.returncode, file.read_text()

    return run


def summary(text: str) -> list[str]:
    return text.partition("== summary\n")[2].splitlines()


def test_all_parts(report: Callable[..., tuple[int, str]]) -> None:
    code, text = report('echo "figures of $*"')
    assert code == 0
    assert all(line.endswith("done") for line in summary(text))
    for part in ("cpixelcnn checks", "-m pytest", "training.py", "sampling.py", "evaluation.py", "--nproc-per-node 2"):
        assert part in text
    assert text.count("figures of ") == len(summary(text))


def test_one_that_fails_and_one_that_never_ends(report: Callable[..., tuple[int, str]]) -> None:
    code, text = report(
        'case "$*" in *pytest*) exit 7;; *training.py*) exit 5;; *sampling.py*) sleep 99;; esac', SECONDS_IN_ALL="2"
    )
    assert code == 1
    found = {line[:24].strip(): line.partition(" s  ")[2] for line in summary(text)}
    assert found["checks"] == "done"
    assert found["tests"] == "failed with exit code 7"
    assert found["training"] == "failed with exit code 5"
    assert found["sampling"].startswith("ended after its")
    assert found["evaluation"] == "not begun: no time left"
