"""Signals that ask the work to end: who handles them, and for how long."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

INTERRUPT, TERMINATE = signal.SIGINT, signal.SIGTERM
HANG_UP: Sequence[signal.Signals] = tuple(filter(None, [getattr(signal, "SIGHUP", None)]))  # Windows has none
GRACE = 5.0  # seconds between a second signal and the end of a process that cannot act on it


@contextmanager
def handling(numbers: Sequence[int], handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """While open, these signals call `handle`; those before are put back at the end.

    A signal that is ignored stays so (nohup ignores SIGHUP). Only the main thread can handle signals; in another one,
    this does nothing.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.getsignal(number) for number in numbers}
        previous = {number: handler for number, handler in previous.items() if handler != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_the_second(numbers: Sequence[int], grace: float = GRACE) -> Iterator[None]:
    """While open, a signal of these that comes twice ends the process after `grace` seconds, with 128 + its number.

    A handler of Python's runs between two steps of the interpreter, so never while this process waits in torch for
    another one that is frozen. The thread of this context learns of the signals from the system itself. It ends the
    process even if the context is left in the meantime, for the interpreter's own end may wait as well. Like
    `handling`, it does nothing but in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_end_after_the_second, args=(reader, numbers, grace), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()


def _end_after_the_second(reader: socket.socket, numbers: Sequence[int], grace: float) -> None:
    received: set[int] = set()
    with reader:
        while byte := reader.recv(1):
            if byte[0] in received:
                time.sleep(grace)
                os.write(2, b"ended at once, since another process does not answer; the checkpoint before is good\n")
                os._exit(128 + byte[0])
            received |= {byte[0]}.intersection(numbers)
