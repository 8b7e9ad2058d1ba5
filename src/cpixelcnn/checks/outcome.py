"""What a check found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cpixelcnn.errors import first_line

OK, DIFFERS, FAILED, SKIPPED = "ok", "differs", "failed", "skipped"


@dataclass(frozen=True)
class Check:
    """One check of this machine.

    Attributes:
        name: what was checked.
        outcome: "ok"; "differs" (two ways of computing the same do not agree); "failed" (one of them ended with an
            error); or "skipped".
        detail: the finding, for people.
        value: the finding as a number, where it is one: a difference, or a speed.
        limit: the largest difference that counts as rounding.
        seconds: how long the check took.
    """

    name: str
    outcome: str
    detail: str
    value: float | None = None
    limit: float | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether there is nothing to worry about."""
        return self.outcome in (OK, SKIPPED)


def compared(name: str, difference: float, limit: float, unit: str) -> Check:
    """A check that two ways of computing the same agree."""
    within = difference <= limit  # false for NaN
    detail = f"largest difference {difference:.2g} {unit} (rounding: up to {limit:g})"
    return Check(name, OK if within else DIFFERS, detail, difference, limit)


def attempt(name: str, check: Callable[[], Check]) -> Check:
    """Make a check, with its time; an error of whatever kind is its outcome, since the others are made, too."""
    started = time.perf_counter()
    try:
        found = check()
    except Exception as error:
        found = Check(name, FAILED, f"{type(error).__name__}: {first_line(error)}")
    seconds = time.perf_counter() - started
    return Check(found.name, found.outcome, found.detail, found.value, found.limit, seconds)
