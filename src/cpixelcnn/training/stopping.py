"""What ends a call of the training early: a signal, or its time limit."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cpixelcnn.errors import Interrupted

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class StopRequest:
    """Whether a stop was asked for, by which signal; looked at between steps and between batches."""

    def __init__(self) -> None:
        self.signal_number = 0

    def check(self) -> None:
        """Raise `Interrupted` if a stop was asked for."""
        if self.signal_number:
            raise Interrupted("stopped on request", self.signal_number)


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """While open, a signal sets `stop`; a second SIGINT raises KeyboardInterrupt where the program is.

    The signals are SIGINT, SIGTERM and SIGHUP. One that is ignored stays so (nohup ignores SIGHUP). Only the main
    thread can handle signals; in another one, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal_number and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal_number = number

    previous = {number: signal.getsignal(number) for number in SIGNALS}
    previous = {number: handler for number, handler in previous.items() if handler != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
