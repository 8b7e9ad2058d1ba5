"""The memory of a training on a CPU, which is kept from one step to the next."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# Of mallopt(3). What the library has without them grows with the blocks that are freed, up to these.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_TRIM, _LARGEST_MMAP = 64 * 2**20, 32 * 2**20


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While open, what tensors free stays with this process, for the next ones; does nothing but under glibc.

    glibc gives large blocks back to the system when they are freed and asks for them again a moment later, page by
    page and cleared: up to a tenth of a step in float32.
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
