"""Ctrl-C while the program is still importing, and outside of imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMPORT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which what runs in the background ignores
from cpixelcnn.cli.interrupt import handle_early_interrupts
handle_early_interrupts()
try:
    import swallows_it
except BaseException as error:
    print("went on after", type(error).__name__)
print("went on")
"""
SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except BaseException:
    pass  # as numpy's and torch's own start-up may
"""


def test_within_an_import_it_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "swallows_it.py").write_text(SWALLOWS)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_elsewhere_it_is_a_keyboard_interrupt() -> None:
    import signal

    from cpixelcnn.cli.interrupt import handle_early_interrupts

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        handle_early_interrupts()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        handle_early_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)
