"""The command line in a process of its own that did not have to start: a fork of one that has imported everything.

A start takes seconds, a fork milliseconds. What only a start shows (imports, Ctrl-C among them, the interpreter's last
words) needs `python -m cpixelcnn` and `subprocess`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

PRELOADED = (
    "pytest",
    "torch",
    "torch._dynamo",  # which the first optimiser imports
    "scipy.stats",
    "sklearn.metrics",
    "PIL.Image",
    "matplotlib.backends.backend_agg",
    "jinja2",
    "cpixelcnn.cli.app",
    "cpixelcnn.cli.train",
    "cpixelcnn.plots.figures",
    "cpixelcnn.training.loop",
    "cpixelcnn.sampling.folder.store",
)


class ForkedCommand:
    """A running `cpixelcnn`. What it says comes into files, which, unlike pipes, never are full.

    Args:
        context: where processes come from.
        folder: of the files `stdout` and `stderr`.
        arguments: of the command.
        stdin: what it reads.
        stdout, stderr: files, or pipes with a name, in place of those in the folder.
        ignored: signals that it ignores from the start.
    """

    def __init__(
        self,
        context: ForkServerContext,
        folder: Path,
        arguments: Sequence[object],
        stdin: str | Path = os.devnull,
        stdout: str | Path | None = None,
        stderr: str | Path | None = None,
        ignored: Sequence[int] = (),
    ) -> None:
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        streams = (stdin, stdout or self._stdout, stderr or self._stderr)
        self._process = context.Process(
            target=_run, args=([*map(str, arguments)], streams, tuple(ignored), os.getcwd(), dict(os.environ))
        )
        self._process.start()

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._process.exitcode

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Return once the condition holds; fails if the command ends before, or if it takes so many seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.poll() is None, self.err
            assert time.monotonic() < deadline, self.err
            time.sleep(0.005)

    def wait(self, timeout: float) -> int:
        """The exit code, once it has ended; fails if that takes so many seconds."""
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"still running: {self.err}"
        return code

    @property
    def out(self) -> str:
        """What it has said so far to stdout."""
        return self._stdout.read_text() if self._stdout.exists() else ""

    @property
    def err(self) -> str:
        """What it has said so far to stderr."""
        return self._stderr.read_text() if self._stderr.exists() else ""


def _run(
    arguments: list[str],
    streams: Sequence[str | Path],
    ignored: Sequence[int],
    directory: str,
    environment: Mapping[str, str],
) -> None:
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which what runs in the background ignores
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, buffering=buffering, closefd=False)  # noqa: SIM115
        for number, mode, buffering in ((0, "r", -1), (1, "w", -1), (2, "w", 1))
    )
    sys.argv = ["cpixelcnn", *arguments]
    from cpixelcnn.cli.interrupt import main

    try:
        main()
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            sys.stderr = None  # type: ignore[assignment]  # an interpreter that ends says nothing of it, multiprocessing does
