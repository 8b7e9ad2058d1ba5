"""What one must know of a machine to understand a report: versions, devices, threads and memory."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch

from cpixelcnn import __version__
from cpixelcnn.device import available_devices, choose_precision
from cpixelcnn.runs.environment import cpu_name, source_commit

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pillow", "safetensors", "typer", "rich")


def describe_machine(device: torch.device) -> dict[str, str]:
    """Names and values for people; no host or user name, and nothing of the environment variables."""
    precision = choose_precision("auto", device)
    facts = {
        "cpixelcnn": " ".join(filter(None, (__version__, (source_commit() or "")[:12]))),
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "CPU": f"{cpu_name()}, {_cores()} cores for this process, {torch.get_num_threads()} threads",
        "memory": _memory(),
        "devices": ", ".join(_device(name) for name in available_devices()),
    }
    if torch.version.cuda:
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        facts["CUDA"] = f"{torch.version.cuda}, cuDNN {cudnn or 'none'}"
    return facts | {"checked": str(device), "training": f"{precision.name} ({precision.reason})"}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = (page * os.sysconf(name) / 2**30 for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{total:.1f} GiB, {free:.1f} GiB of it unused"


def _device(name: str) -> str:
    if not name.startswith("cuda"):
        return name
    properties = torch.cuda.get_device_properties(torch.device(name))
    capability = f"{properties.major}.{properties.minor}"
    return f"{name} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB, capability {capability})"
