"""The figures of steps, on their way from the device.

A GPU works through what it was given while the next step is prepared. To read a number of the step just given would
wait for the end of it, and leave the device without work meanwhile; so it is read one step later.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class FiguresInFlight(Generic[T]):
    """Gives figures back in their order, when they have arrived: at once from a CPU, one step later from a GPU.

    Args:
        device: where the figures come from.
    """

    def __init__(self, device: torch.device) -> None:
        self.longest = 1 if device.type == "cuda" else 0
        self.flights: deque[tuple[T, _Copy]] = deque()

    def send(self, what: T, figures: Tensor) -> list[tuple[T, list[float]]]:
        """Send figures (1-dimensional, on the device) off; returns those that are due, each with what went with it."""
        self.flights.append((what, _Copy(figures)))
        return self._arrived(self.longest)

    def land(self) -> list[tuple[T, list[float]]]:
        """All that is still on its way."""
        return self._arrived(0)

    def _arrived(self, left: int) -> list[tuple[T, list[float]]]:
        due = [self.flights.popleft() for _ in range(len(self.flights) - left)]
        return [(what, copy.read()) for what, copy in due]


class _Copy:
    """A tensor that is being copied to the host."""

    def __init__(self, figures: Tensor) -> None:
        self.host, self.event = figures, None
        if figures.device.type == "cuda":
            self.host = torch.empty_like(figures, device="cpu", pin_memory=True)
            self.host.copy_(figures, non_blocking=True)
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record(torch.cuda.current_stream(figures.device))

    def read(self) -> list[float]:
        if self.event is not None:
            self.event.synchronize()
        numbers: list[float] = self.host.tolist()
        return numbers
