"""How fast a training goes and how long it will take; and averages that follow a noisy figure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_DECAY = 0.98  # of the averages, over steps


class Smoothed:
    """An exponential moving average without the bias of its start: m_t / (1 - d^t), m_t = d m_{t-1} + (1 - d) x_t.

    Values that are not finite are left out; without any value, the average is NaN.

    >>> average = Smoothed()
    >>> [round(average.add(x), 3) for x in (4.0, 2.0)]
    [4.0, 2.99]
    """

    def __init__(self, decay: float = _DECAY) -> None:
        self.decay, self.moment, self.weight = decay, 0.0, 0.0

    def add(self, value: float) -> float:
        """Take a value in; the average."""
        if math.isfinite(value):
            self.moment = self.decay * self.moment + (1 - self.decay) * value
            self.weight = self.decay * self.weight + (1 - self.decay)
        return self.value

    @property
    def value(self) -> float:
        return self.moment / self.weight if self.weight else math.nan


class Pace:
    """Images per second, without the time for validation and samples, and the time that is left, with it."""

    def __init__(
        self, images_seen: int, total_images: int, images_per_epoch: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.images_seen, self.total_images, self.images_per_epoch = images_seen, total_images, images_per_epoch
        self.clock = clock
        self.seconds, self.images = Smoothed(), Smoothed()
        self.last_step = clock()
        self.pause_start: float | None = None
        self.pause_in_step = self.paused = 0.0
        self.epochs = 0

    def pause(self) -> None:
        """Work beside the steps begins."""
        if self.pause_start is None:
            self.pause_start = self.clock()

    def go_on(self) -> None:
        """The work beside the steps, if there was any, is done."""
        if self.pause_start is not None:
            self.pause_in_step += self.clock() - self.pause_start
            self.pause_start = None

    def step(self, images_seen: int) -> None:
        """A step ends."""
        self.go_on()
        now = self.clock()
        self.seconds.add(now - self.last_step - self.pause_in_step)
        self.images.add(images_seen - self.images_seen)
        self.paused += self.pause_in_step
        self.last_step, self.pause_in_step, self.images_seen = now, 0.0, images_seen

    def end_epoch(self) -> None:
        """An epoch ends, its validation included."""
        self.go_on()
        self.epochs += 1

    @property
    def images_per_second(self) -> float:
        """Lately."""
        return self.images.value / max(self.seconds.value, 1e-9)

    @property
    def remaining(self) -> float:
        """Seconds to the end: the steps at the present speed, and what the epochs so far took beside them."""
        images = max(self.total_images - self.images_seen, 0)
        beside = (self.paused + self.pause_in_step) / self.epochs if self.epochs else 0.0
        return images / max(self.images_per_second, 1e-9) + beside * images / self.images_per_epoch
