"""How long work tells of its progress without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called now and then with how much of the work is done; may raise to stop it (see `errors.Interrupted`)."""

    def __call__(self, done: int, total: int) -> None: ...


def silent(done: int, total: int) -> None:
    """A `Progress` that tells nobody."""
