"""Memory of `cpixelcnn classify` over many images: what is done with is forgotten."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cpixelcnn.config import RunConfig
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import save_weights

NR_IMAGES, FIRST = 20_000, 1_000
LIMIT = 50 * 1024  # KiB


def peak(process: subprocess.Popen[str]) -> int:
    """The most memory that a process has held, in KiB."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert match
    return int(match[1])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_memory_hardly_grows_after_the_first_thousand(make_model: Callable[..., PixelCNN], tmp_path: Path) -> None:
    model = make_model(image_height=8, image_width=8)
    save_weights(tmp_path / "model.safetensors", model.state_dict(), RunConfig(model.config))
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "one.png")
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(NR_IMAGES):
        os.link(tmp_path / "one.png", folder / f"{number:05d}.png")
    command = [
        sys.executable,
        "-m",
        "cpixelcnn",
        "classify",
        "--model",
        "model.safetensors",
        "--csv",
        "x.csv",
        "images",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        assert process.stdout is not None
        early = late = 0
        for number, _ in enumerate(process.stdout):  # the first line is the heading
            if number == FIRST:
                early = peak(process)
            if number == NR_IMAGES - FIRST:  # by the last line the process may have ended
                late = peak(process)
    assert process.returncode == 0
    assert len((tmp_path / "x.csv").read_text().splitlines()) == NR_IMAGES + 1
    print(f"{early / 1024:.0f} MiB after {FIRST} images, {(late - early) / 1024:.1f} MiB more at the end")
    assert 0 < early <= late < early + LIMIT
