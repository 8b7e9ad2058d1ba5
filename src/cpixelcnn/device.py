"""Where to compute and in which precision, chosen with a reason that can be shown."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from cpixelcnn.errors import ConfigError, plural


@dataclass(frozen=True)
class DeviceChoice:
    """A device and why it was chosen."""

    device: torch.device
    reason: str


def available_devices() -> list[str]:
    """Names of the devices that torch can use here."""
    names = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def choose_device(name: str = "auto", local_rank: int = 0) -> DeviceChoice:
    """The device of that name: auto, cpu, cuda, cuda:N or mps. "auto" prefers CUDA, then MPS, then the CPU.

    Several processes on one machine each get a GPU of their own, where the name is auto or cuda.

    Args:
        name: what the user asked for.
        local_rank: this process's number among those on this machine.

    Raises:
        ConfigError: no such device here; lists those that there are.
    """
    available = available_devices()
    if name == "auto":
        if "cuda:0" in available:
            index = local_rank % torch.cuda.device_count()
            return DeviceChoice(torch.device("cuda", index), f"auto: {torch.cuda.get_device_name(index)}")
        if "mps" in available:
            return DeviceChoice(torch.device("mps"), "auto: Apple GPU, no CUDA device")
        threads = torch.get_num_threads()
        return DeviceChoice(torch.device("cpu"), f"auto: no GPU found, {plural(threads, 'CPU thread')}")
    wanted = f"cuda:{local_rank % max(torch.cuda.device_count(), 1)}" if name == "cuda" else name
    if wanted not in available:
        raise ConfigError(f"--device {name} is not there; this machine has: auto, {', '.join(available)}")
    return DeviceChoice(torch.device(wanted), "as asked")


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor from the CPU on the device, without waiting for what the device is doing."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class PrecisionChoice:
    """The precision of the network's convolutions and why it was chosen."""

    name: str
    reason: str


@dataclass(frozen=True)
class CompilationChoice:
    """Whether the network is compiled, and why."""

    wanted: bool
    reason: str


def choose_precision(name: str, device: torch.device) -> PrecisionChoice:
    """Resolve auto, float32 or bfloat16. "auto" takes bfloat16 only where the hardware multiplies it faster."""
    if name != "auto":
        return PrecisionChoice(name, "as asked")
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        reason = "the GPU multiplies bfloat16" if native else "the GPU has no bfloat16"
    elif device.type == "cpu":
        native, reason = _bfloat16_of_the_cpu()
    else:
        native, reason = False, f"untested on {device.type}"
    return PrecisionChoice("bfloat16" if native else "float32", f"auto: {reason}")


def _bfloat16_of_the_cpu() -> tuple[bool, str]:
    """Whether to take it, and why. On Intel's processors AVX512-BF16 alone has half the speed of their float32."""
    capabilities = torch.cpu.get_capabilities()
    if capabilities.get("amx_bf16", False):
        return True, "the CPU multiplies bfloat16 (AMX)"
    if not capabilities.get("avx512_bf16", False):
        return False, "the CPU does not multiply bfloat16"
    if "Intel" in str(capabilities.get("cpu_name", "")):
        return False, "an Intel CPU without AMX multiplies bfloat16 slowly"
    return True, "the CPU multiplies bfloat16 (AVX512-BF16)"


@contextmanager
def network_precision(name: str, device: torch.device) -> Iterator[None]:
    """While open, the network's matrix products run in this precision, whatever the caller's autocast says.

    Weights and likelihood stay in float32.
    """
    with torch.autocast(device.type, torch.bfloat16, enabled=name == "bfloat16"):
        yield


def inner_precision(x: torch.Tensor) -> torch.dtype:
    """In which precision matrix products of x run: what `network_precision` chose, else that of x."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def widest_float(device: torch.device) -> torch.dtype:
    """The widest floating-point type of a device: float64, but for MPS, which has none."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextmanager
def exact_float32() -> Iterator[None]:
    """While open, float32 convolutions and matrix products are not rounded to fewer bits (TF32 on CUDA, say)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        cudnn = torch.backends.cudnn
        flags = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
        with cudnn.flags(**flags, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


# Of mallopt(3). What the library has without them grows with the blocks that are freed, up to these.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_TRIM, _LARGEST_MMAP = 64 * 2**20, 32 * 2**20


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While open, the memory of freed tensors stays with this process for the next ones (glibc only).

    glibc returns large blocks to the system when they are freed and requests them again a moment later, page by page
    and cleared, which takes up to a tenth of a training step in float32.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    # Old versions refuse more than their own largest; with none at all they would stay where they are now.
    if not library.mallopt(_M_MMAP_THRESHOLD, 2**30):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP)
    library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGEST_TRIM)
        library.malloc_trim(0)
