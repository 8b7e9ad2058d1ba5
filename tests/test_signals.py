"""Who handles a signal, and what ends a process that cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cpixelcnn.signals import handling


def test_signals_are_handled_while_open_and_given_back() -> None:
    received: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with handling((signal.SIGTERM,), lambda number, _: received.append(number)):
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with handling((signal.SIGTERM,), lambda *_: pytest.fail("handled")):
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_handles_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with handling((signal.SIGTERM,), lambda *_: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


DEAF = """
import signal, time
from cpixelcnn.signals import ended_by_the_second, handling
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what was started in the background
with ended_by_the_second((signal.SIGINT, signal.SIGTERM), grace=0.2):
    with handling((signal.SIGINT, signal.SIGTERM), lambda *_: None):
        print("ready", flush=True)
        for _ in range(20):
            time.sleep(1)
"""


@pytest.mark.parametrize(("numbers", "code"), [("TT", 143), ("II", 130), ("TIT", 143), ("TI", None), ("I", None)])
def test_the_second_ends_a_process_that_does_not_listen(numbers: str, code: int | None) -> None:
    kinds = {"T": signal.SIGTERM, "I": signal.SIGINT}
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for number in numbers:
            process.send_signal(kinds[number])
            time.sleep(0.1)
        try:
            process.wait(10 if code else 1)
        except subprocess.TimeoutExpired:
            process.kill()
        assert process.wait() == (code or -signal.SIGKILL)


def test_a_program_that_goes_on_is_left_alone() -> None:
    """Once the context is closed, signals are the program's own again."""
    program = DEAF.split("    with handling")[0] + "    pass\n"
    program += "signal.signal(signal.SIGTERM, lambda *_: None)\nprint('ready', flush=True)\ntime.sleep(1.5)\n"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert process.wait(20) == 0
