"""What moves while a training runs: where it is, a bar, figures and the time left, in the columns there are."""

from __future__ import annotations

import math

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

_GAP = "  "
_SHORTEST_BAR = 6
_MOST_LINES = 2  # of figures, below the bar
_LEAST_WANTED = ("step", "lr", "grad_norm", "images_per_second")  # dropped in this order where there is no room


class LiveLine:
    """One line on a wide terminal; figures below the bar on a narrower one, the less important ones left out."""

    def __init__(self, total_images: int) -> None:
        self.total_images = total_images
        self.images_seen = 0
        self.where = ""  # such as "epoch 3/16"
        self.remaining = ""  # such as "1:02:03"
        self.afterwards: tuple[str, ...] = ()  # what comes when that time is over, such as "samples"
        self.activity = ""  # such as "validation 40 %", in place of the figures
        self.figures: dict[str, str] = {}

    def set_figures(self, step: int, bits_per_dim: float, grad_norm: float, lr: float, speed: float) -> None:
        """The figures as text, in the order in which they are shown."""
        self.figures = {
            "step": f"step {step}",
            "bits_per_dim": f"{number(bits_per_dim, '.3f')} bits/dim",
            "grad_norm": f"grad norm {number(grad_norm, '.3g')}",
            "lr": f"lr {lr:.2e}",
            "images_per_second": f"{number(speed, '.3g' if speed < 100 else '.0f')} images/s",
        }

    def plain(self) -> str:
        """All of it as one line, for where nothing can move."""
        return _GAP.join([self.where, *self.figures.values(), self._time_left(math.inf)])

    def _time_left(self, width: float) -> str:
        """The time left and what comes then, if there is room for that."""
        if not self.remaining:
            return ""
        shortest = f"ETA {self.remaining}"
        whole = f"{shortest}, then {', '.join(self.afterwards)}" if self.afterwards else shortest
        return whole if len(whole) <= width else shortest

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width - 1  # a full last column makes some terminals wrap
        ends = [self.where, self._time_left(width - len(self.where) - 2 * len(_GAP) - _SHORTEST_BAR)]
        figures = [self.activity] if self.activity else list(self.figures.values())
        if width - len(_GAP.join([*ends, *figures])) - len(_GAP) >= 2 * _SHORTEST_BAR:
            yield from self._bar_between(console, _GAP.join([ends[0], *figures]), ends[1], width)
            return
        yield from self._bar_between(console, ends[0], ends[1], width)
        for line in [self.activity] if self.activity else self._fitting(width):
            yield Text(line[: max(width, 1)])

    def _bar_between(self, console: Console, before: str, after: str, width: int) -> RenderResult:
        bar = width - len(_GAP.join([before, after])) - len(_GAP)
        if bar < _SHORTEST_BAR:
            for line in packed([end for end in (before, after) if end], width):
                yield Text(line[: max(width, 1)])
            return
        yield Text(before + _GAP, end="")
        drawn = list(console.render(ProgressBar(max(self.total_images, 1), self.images_seen, width=bar)))
        yield from drawn
        missing = bar - Segment.get_line_length(drawn)  # without colour only what is done is drawn
        yield Text(" " * missing + _GAP + after)

    def _fitting(self, width: int) -> list[str]:
        kept = dict(self.figures)
        for name in _LEAST_WANTED:
            if len(packed(list(kept.values()), width)) <= _MOST_LINES:
                break
            kept.pop(name, None)
        return packed(list(kept.values()), width)


def packed(parts: list[str], width: int) -> list[str]:
    """Parts side by side, in as many lines as that takes.

    >>> packed(["one", "two", "three"], 9)
    ['one  two', 'three']
    """
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(_GAP) + len(part) <= width:
            lines[-1] += _GAP + part
        else:
            lines.append(part)
    return lines


def number(value: float, form: str) -> str:
    """A number, or a dash where there is none yet."""
    return format(value, form) if math.isfinite(value) else "-"
