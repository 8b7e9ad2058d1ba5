"""What ends a training early: a signal, or the end of its time.

Stopping on a signal: the first one asks for a clean stop, a second SIGINT stops at once.

A limit on the time that one call of the training may take.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cpixelcnn.errors import Interrupted


class StopRequest:
    """Whether somebody asked the work to stop; looked at between steps and between batches."""

    def __init__(self) -> None:
        self.signal_number = 0

    def check(self) -> None:
        """Raise `Interrupted` if a stop was asked for."""
        if self.signal_number:
            raise Interrupted("stopped on request", self.signal_number)


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """While open, SIGINT and SIGTERM set `stop`; a second SIGINT raises KeyboardInterrupt where the program is."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal_number and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal_number = number

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class TimeSpent(Exception):  # noqa: N818 (not a fault)
    """The time of this call is over; what was done so far goes on in another."""


class TimeBudget:
    """Minutes from now; 0 for no limit. Looked at after every step, so that every call gets at least one step further.

    A validation that has begun is ended whatever the time: broken off, it would be repeated by every further call of
    the same length.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self.deadline = time.monotonic() + 60.0 * minutes if minutes else math.inf

    @property
    def spent(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self.deadline

    def check(self) -> None:
        """Raise `TimeSpent` if the time is over."""
        if self.spent:
            raise TimeSpent
