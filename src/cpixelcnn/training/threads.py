"""How many threads a training on a CPU computes with.

A step has thousands of parallel regions, and at the end of each the threads wait for the slowest. Beside another busy
process, one of two threads is often without a core, and a step takes several times as long as with a single thread.
So "auto" measures: before the first step, again when the steps have become much slower, and from time to time while it
computes with fewer threads than there are.

Sums are added in another sequence by another number of threads, so only trainings with the same numbers repeat bit for
bit. A resumed training therefore begins with the number that its checkpoint was computed with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

ROUNDS = 3  # of measurements, one with each candidate in turn
FEWEST_STEPS = 50  # with fewer steps to go, measuring would take longer than it saves
WINDOW = 20.0  # seconds of steps over which the speed is averaged
SLOWDOWN = 1.8  # times slower than before: measure again
AT_MOST_EVERY = 120.0  # seconds between measurements because of a slowdown
RECHECK_EVERY = 600.0  # seconds after which more threads are tried again


@dataclass(frozen=True)
class ThreadsChoice:
    """A number of threads and why it was chosen."""

    count: int
    reason: str


@contextmanager
def threads_restored() -> Iterator[None]:
    """On leaving, torch computes with as many threads as on entering."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Threads:
    """Chooses the number of threads of a training and watches its speed.

    Args:
        wanted: a number, or "auto".
        recorded: the number that the checkpoint was computed with; 0 without one.
        adaptive: whether "auto" may measure: on a CPU, and with one process.
        clock: seconds.
    """

    def __init__(
        self, wanted: str, recorded: int, *, adaptive: bool, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.wanted, self.recorded, self.clock = wanted, recorded, clock
        self.available = torch.get_num_threads()
        self.candidates = sorted({1, max(1, self.available // 2), self.available}, reverse=True)
        self.adaptive = adaptive and wanted == "auto" and len(self.candidates) > 1
        self.window_seconds, self.window_images = 0.0, 0
        self.best_speed = 0.0
        self.last_measured = clock()

    def choose(self, trial: Callable[[], None], steps_left: int) -> ThreadsChoice:
        """Choose before the first step; `trial` computes what a step does, without changing anything."""
        if self.wanted != "auto":
            return self._set(int(self.wanted), "as asked")
        if 0 < self.recorded <= self.available:
            return self._set(self.recorded, "auto: as before, so that the training repeats exactly")
        if not self.adaptive or steps_left < FEWEST_STEPS:
            return ThreadsChoice(self.available, "auto: all that torch has")
        return self._measure(trial)

    def after_step(self, seconds: float, images: int, trial: Callable[[], None]) -> str:
        """Take the time of a step; where the speed calls for it, measure again. Says what has changed, if anything."""
        if not self.adaptive:
            return ""
        self.window_seconds += seconds
        self.window_images += images
        if self.window_seconds < WINDOW:
            return ""
        speed = self.window_images / self.window_seconds
        self.window_seconds, self.window_images = 0.0, 0
        self.best_speed = max(self.best_speed, speed)
        since, before = self.clock() - self.last_measured, torch.get_num_threads()
        slower = speed * SLOWDOWN < self.best_speed and since > AT_MOST_EVERY
        if not slower and not (before < self.available and since > RECHECK_EVERY):
            return ""
        choice = self._measure(trial)
        if slower:
            self.best_speed = 0.0
        if choice.count == before:
            return f"other programs keep the processor busy: {speed:.3g} images/s" if slower else ""
        return f"from now on {choice.count} instead of {before} threads ({choice.reason})"

    def _measure(self, trial: Callable[[], None]) -> ThreadsChoice:
        seconds = dict.fromkeys(self.candidates, 0.0)
        for turn in range(ROUNDS + 1):
            for count in self.candidates:
                torch.set_num_threads(count)
                started = self.clock()
                trial()
                if turn:  # the first round warms up
                    seconds[count] += self.clock() - started
        self.last_measured = self.clock()
        fastest = min(self.candidates, key=lambda count: seconds[count])
        compared = ", ".join(f"{count}: {seconds[count] / ROUNDS:.2g} s" for count in self.candidates)
        return self._set(fastest, f"auto: the fastest, threads and time of a step: {compared}")

    def _set(self, count: int, reason: str) -> ThreadsChoice:
        torch.set_num_threads(count)
        return ThreadsChoice(count, reason)
