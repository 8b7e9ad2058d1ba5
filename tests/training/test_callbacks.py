"""Several listeners hear the same, in their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cpixelcnn.progress import Progress
from cpixelcnn.training.callbacks import Callback, Callbacks

HEARD = [name for name in vars(Callback) if name.startswith("on_")]


def test_everything_is_passed_on() -> None:
    calls: list[tuple[int, str, tuple[Any, ...]]] = []

    def note(number: int, name: str) -> Callable[..., None]:
        return lambda *arguments: calls.append((number, name, arguments))

    listeners = [Callback(), Callback()]
    for number, listener in enumerate(listeners):
        for name in HEARD:
            setattr(listener, name, note(number, name))
    several = Callbacks(listeners)
    for name in HEARD:
        assert name in vars(Callbacks), f"Callbacks does not pass on {name}"
        count = getattr(Callback, name).__code__.co_argcount - 1
        getattr(several, name)(*range(count))
        assert calls[-2:] == [(0, name, tuple(range(count))), (1, name, tuple(range(count)))]
    assert HEARD


def test_progress_is_passed_on() -> None:
    heard: list[tuple[str, int, int]] = []

    class Ear(Callback):
        def activity(self, name: str) -> Progress:
            return lambda done, total: heard.append((name, done, total))

    Callbacks([Ear(), Callback(), Ear()]).activity("validation")(1, 2)
    assert heard == [("validation", 1, 2)] * 2


def test_none_at_all(fit: Callable[..., Any], recorder_class: Callable[[], Any], tmp_path: Path) -> None:
    class Nobody(Callbacks):
        def __init__(self) -> None:
            super().__init__([])
            self.stop = recorder_class().stop

    fit(tmp_path / "run", epochs=1, recorder=Nobody())
    assert (tmp_path / "run" / "last").exists()
