"""What ends a call of the training early: a signal, or its time limit."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import Interrupted
from cpixelcnn.signals import HANG_UP, INTERRUPT, TERMINATE, ended_by_the_second, handling

SIGNALS = (INTERRUPT, TERMINATE, *HANG_UP)


class StopRequest:
    """Whether a stop was asked for, by which signal; looked at between steps and between batches."""

    def __init__(self) -> None:
        self.signal_number = 0

    def check(self) -> None:
        """Raise `Interrupted` if a stop was asked for."""
        if self.signal_number:
            raise Interrupted("stopped on request", self.signal_number)


@contextmanager
def stop_on_signals(stop: StopRequest, processes: Processes = ALONE) -> Iterator[None]:
    """While open, SIGINT, SIGTERM or SIGHUP sets `stop`; a second SIGINT raises KeyboardInterrupt where the program is.

    Of several processes, a second SIGINT or SIGTERM ends this one even where it waits for another that is frozen.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal_number and number == INTERRUPT:
            raise KeyboardInterrupt
        stop.signal_number = number

    with nullcontext() if processes.alone else ended_by_the_second((INTERRUPT, TERMINATE)), handling(SIGNALS, handle):
        yield


class TimeSpent(Exception):  # noqa: N818 (not a fault)
    """The time limit of this call is reached; another call resumes."""


class TimeBudget:
    """Minutes from now; 0 for no limit. Looked at after every step, so that every call makes at least one.

    A validation that has begun is completed whatever the time: if it were stopped, every further call of the same
    length would stop in it, too.
    """

    def __init__(self, minutes: float) -> None:
        self.deadline = time.monotonic() + 60.0 * minutes if minutes else math.inf

    @property
    def spent(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self.deadline

    def check(self) -> None:
        """Raise `TimeSpent` if the time is over."""
        if self.spent:
            raise TimeSpent
