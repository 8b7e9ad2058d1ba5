"""Where to compute: what is there, what was asked for, and what is said about it."""

from __future__ import annotations

import pytest
import torch

from cpixelcnn import device as module
from cpixelcnn.device import available_devices, choose_device, choose_precision, network_precision
from cpixelcnn.errors import ConfigError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without accelerators, whatever this one has."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return monkeypatch


def give_gpus(machine: pytest.MonkeyPatch, count: int) -> None:
    machine.setattr(torch.cuda, "device_count", lambda: count)
    machine.setattr(torch.cuda, "get_device_name", lambda index: f"GPU number {index}")


def test_a_cpu_is_always_there(machine: pytest.MonkeyPatch) -> None:
    assert available_devices() == ["cpu"]
    choice = choose_device()
    assert choice.device == torch.device("cpu")
    assert choice.reason.startswith("auto: no GPU found")
    assert choose_device("cpu").reason == "as asked"


def test_auto_prefers_cuda_then_mps(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.backends.mps, "is_available", lambda: True)
    assert str(choose_device("auto").device) == "mps"
    give_gpus(machine, 2)
    assert available_devices() == ["cpu", "cuda:0", "cuda:1", "mps"]
    choice = choose_device("auto")
    assert (str(choice.device), choice.reason) == ("cuda:0", "auto: GPU number 0")
    assert str(choose_device("cuda").device) == "cuda:0"
    assert str(choose_device("cuda:1").device) == "cuda:1"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:5", "mps", "tpu", "", "CPU", "cuda:x", "cuda:-1", "cpu:0"])
def test_what_is_not_there_is_an_error_that_lists_what_is(machine: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_device(name)
    assert str(caught.value) == f"--device {name} is not there; this machine has: auto, cpu"


def test_one_gpu_is_not_two(machine: pytest.MonkeyPatch) -> None:
    give_gpus(machine, 1)
    with pytest.raises(ConfigError, match="this machine has: auto, cpu, cuda:0"):
        choose_device("cuda:1")


@pytest.mark.parametrize("native", [True, False])
def test_auto_precision_follows_the_hardware(machine: pytest.MonkeyPatch, native: bool) -> None:
    machine.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    machine.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": native})
    for kind in ("cuda", "cpu"):
        choice = choose_precision("auto", torch.device(kind))
        assert choice.name == ("bfloat16" if native else "float32")
        assert choice.reason.startswith("auto: ")
    assert choose_precision("auto", torch.device("mps")).name == "float32"
    machine.setattr(torch.cpu, "get_capabilities", dict)  # a CPU of which torch knows nothing
    assert choose_precision("auto", torch.device("cpu")).name == "float32"


@pytest.mark.parametrize(
    ("name", "amx", "expected"),
    [("AMD EPYC 9R14", False, "bfloat16"), ("Intel Xeon", False, "float32"), ("Intel Xeon", True, "bfloat16")],
)
def test_auto_precision_takes_vector_bfloat16_where_it_is_fast(
    machine: pytest.MonkeyPatch, name: str, amx: bool, expected: str
) -> None:
    machine.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name, "avx512_bf16": True, "amx_bf16": amx})
    assert choose_precision("auto", torch.device("cpu")).name == expected


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_precision_as_asked(name: str) -> None:
    choice = choose_precision(name, torch.device("cpu"))
    assert (choice.name, choice.reason) == (name, "as asked")


def test_the_network_computes_in_that_precision_and_only_there() -> None:
    x = torch.ones(2, 2)
    for name, expected in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with network_precision(name, torch.device("cpu")):
            assert (x @ x).dtype == expected
        assert (x @ x).dtype == torch.float32
    assert module.__doc__
