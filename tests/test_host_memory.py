"""Memory that is kept between the steps, and given back after the training."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import pytest

from cpixelcnn import device
from cpixelcnn.device import freed_memory_kept

MMAP_THRESHOLD = -3  # mallopt(3)
glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")


FAULTS_OF_A_SECOND_TENSOR = """
import resource, torch
import cpixelcnn.training.loop
from cpixelcnn.device import freed_memory_kept
with freed_memory_kept():
    for _ in range(3):
        torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@glibc
@pytest.mark.slow
def test_a_tensor_takes_the_pages_of_the_one_before() -> None:
    """Mostly: it depends on what else lies in the heap, so that this test does not belong to every run."""
    command = [sys.executable, "-c", FAULTS_OF_A_SECOND_TENSOR]
    pages = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout
    assert int(pages) < 100  # of 16,384 that the system would have to bring


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    library: Any = object()
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: library)
    with freed_memory_kept():
        pass


def test_an_old_version_gets_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, name: int, value: int) -> int:
            calls.append((name, value))
            return int(name != MMAP_THRESHOLD or value <= 2**25)

        def malloc_trim(self, _: int) -> int:
            return 1

    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: Library())
    with freed_memory_kept():
        assert [value for name, value in calls if name == MMAP_THRESHOLD][-1] == 2**25


@glibc
def test_it_ends_after_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    class Library:
        def mallopt(self, *arguments: int) -> int:
            calls.append(arguments)
            return 1

        def malloc_trim(self, *arguments: int) -> int:
            calls.append(("trim", *arguments))
            return 1

    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: Library())
    with pytest.raises(KeyError), freed_memory_kept():
        calls.clear()
        raise KeyError
    assert calls[-1] == ("trim", 0)
    assert all(0 < value < 2**30 for name, value in calls if name != "trim")
