"""Stopping on a signal: the first one asks for a clean stop, a second SIGINT stops at once."""

from __future__ import annotations

import signal
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
