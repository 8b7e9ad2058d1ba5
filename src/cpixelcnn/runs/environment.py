"""`environment.json` of a run: on what, and with which versions, each call of a training ran.

It holds no host or user name, and nothing of the environment variables.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import torch.distributed

from cpixelcnn import __version__
from cpixelcnn.device import CompilationChoice, PrecisionChoice
from cpixelcnn.foreign_files import LOG_BYTES, UnreadableFileError, read_json
from cpixelcnn.storage import write_json

ENVIRONMENT = "environment.json"
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Environment:
    """What one call of a training ran with.

    Attributes:
        started: when, as ISO 8601 in UTC.
        images_seen: 0 for a fresh run, else where it went on.
        command: the command line, if there was one, its first word without a path.
        source_commit: of the checkout that the package lies in, "+" behind it if files differ; None when installed.
        cores: logical cores that this process may use; threads: those that torch computes with.
        cuda: the version torch was built for, None without.
        processes: how many train together.
    """

    started: str
    images_seen: int
    command: list[str]
    cpixelcnn: str
    source_commit: str | None
    python: str
    torch: str
    torchvision: str
    numpy: str
    platform: str
    cpu: str
    cores: int
    threads: int
    device: str
    device_name: str
    cuda: str | None
    precision: str
    precision_reason: str
    compiled: bool
    compiled_reason: str
    processes: int


def describe_environment(
    device: torch.device,
    precision: PrecisionChoice,
    compilation: CompilationChoice,
    images_seen: int = 0,
    command: Sequence[str] = (),
) -> Environment:
    """What this process runs with."""
    cpu = cpu_name()
    return Environment(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        images_seen=images_seen,
        command=[Path(command[0]).name, *command[1:]] if command else [],
        cpixelcnn=__version__,
        source_commit=source_commit(),
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=metadata.version("torchvision"),
        numpy=np.__version__,
        platform=platform.platform(),
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        cuda=torch.version.cuda,
        precision=precision.name,
        precision_reason=precision.reason,
        compiled=compilation.wanted,
        compiled_reason=compilation.reason,
        processes=torch.distributed.get_world_size() if _joined() else 1,
    )


def record_environment(run: Path, environment: Environment) -> None:
    """Append to the list in a run's `environment.json`; one that cannot be read is begun anew.

    Raises:
        OSError: it cannot be written.
    """
    try:
        calls = read_json(run / ENVIRONMENT, LOG_BYTES)
    except UnreadableFileError:
        calls = []
    earlier = calls if isinstance(calls, list) else []
    write_json(run / ENVIRONMENT, [*earlier, asdict(environment)])


def source_commit(package: Path = _PACKAGE) -> str | None:
    """The commit of the git checkout whose part the package is, "+" behind it if files of the package differ."""
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None  # no checkout, or one of something else that the package was installed into
    commit, changes = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "--", ".")
    return f"{commit}+" if commit and changes else commit


def cpu_name() -> str:
    """The processor's name as its maker gives it, or else its kind."""
    if platform.system() == "Darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _git(directory: Path, *arguments: str) -> str | None:
    return _output("git", "--no-optional-locks", "-C", str(directory), *arguments)


def _output(*command: str) -> str | None:
    """What a program prints; None if it is not there, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
