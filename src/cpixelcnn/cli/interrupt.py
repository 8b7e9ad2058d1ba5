"""Ctrl-C before anything has begun: while modules are imported, it ends the program at once and without a traceback.

An exception raised within an import may be swallowed there, or leave a module half-initialised that fails much later.
Nothing in this module imports more than the interpreter has loaded anyway.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def handle_early_interrupts() -> None:
    """Handle SIGINT: exit at once within an import, and raise KeyboardInterrupt elsewhere. Ignored, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"interrupted\n")
            os._exit(128 + number)
        frame = frame.f_back
    signal.default_int_handler(number, frame)


def main() -> None:
    """The entry point of the command: handles Ctrl-C before the command line itself is imported."""
    handle_early_interrupts()
    from cpixelcnn.cli.app import main as run

    run()
