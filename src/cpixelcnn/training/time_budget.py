"""A limit on the time that one call of the training may take."""

from __future__ import annotations

import math
import time


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
