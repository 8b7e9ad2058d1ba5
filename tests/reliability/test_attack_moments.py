"""Commands at work that are signalled, frozen, robbed of their folders, or short of room or files.

Each command runs in a process of its own, forked from this one, which has imported what they need: so that what is hit
is the work. ``pytest -m slow -n 0 -s tests/reliability/test_attack_moments.py`` prints how often each kind ended with
which exit code; the moments are others for another CPIXELCNN_ATTACK_SEED.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file

import cpixelcnn
from cpixelcnn.cli import interrupt
from cpixelcnn.runs.layout import checkpoint_paths, verify_checkpoint
from cpixelcnn.storage import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")]

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1-run.tar.gz"
SEED = int(os.environ.get("CPIXELCNN_ATTACK_SEED", "0"))
LONGEST = 20.0  # seconds of the processor
HANGS = 300.0  # seconds by the clock, of a busy machine
OUT = {"train": "mine", "sample": "out", "classify": "rows", "eval": "saved"}  # folders that the commands write into
DOCUMENTED = {0, 1, 2, 3, 4}


def command(name: str) -> list[str]:
    """A command that writes into its folder of `OUT`."""
    small = ["--nr-filters", "3", "--nr-logistic-mix", "2", "--batch-size", "4", "--device", "cpu"]
    small += ["--precision", "float32", "--threads", "1", "--no-test"]
    small += ["--epochs", "2", "--eval-interval", "1", "--save-interval", "1"]
    return {
        "train": ["train", "-d", "folder", "-i", "photographs", "--image-size", "8", *small, "--out", "mine"],
        "sample": ["sample", "--model", "run", "-k", "1", "--batch-size", "2", "--out", "out"],
        "classify": ["classify", "photographs", "--model", "run", "--batch-size", "2", "--csv", "rows/a.csv"],
        "eval": ["eval", "--model", "run", "-d", "folder", "-i", "photographs", "--batch-size", "2",
                 "--save-log-likelihoods", "saved/l.npz"],
    }[name]  # fmt: skip


@dataclass
class Ended:
    """A process that has ended; the code is that of a shell, 128 and the signal where one ended it."""

    code: int
    out: str
    err: str
    seconds: float


class Process:
    """`cpixelcnn` with these arguments, in a fork of this process."""

    def __init__(self, arguments: list[str], prepare: Callable[[], object] = lambda: None) -> None:
        self.pipes = [os.pipe() for _ in range(2)]
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become(arguments, prepare, [writer for _, writer in self.pipes])
        for reader, writer in self.pipes:
            os.close(writer)
            os.set_blocking(reader, False)
        self.texts = [b"", b""]

    def signal(self, *numbers: int) -> None:
        for number in numbers:
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for its end and check what is true of every end."""
        while True:
            self._read()
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - self.began > HANGS:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                pytest.fail(f"it hangs: {self.texts}")
            time.sleep(0.01)
        seconds = time.monotonic() - self.began
        self._read()
        for reader, _ in self.pipes:
            os.close(reader)
        code = os.waitstatus_to_exitcode(status)
        out, err = (text.decode(errors="replace") for text in self.texts)
        for fault in ("Traceback", "internal error", "Exception ignored", "Fatal Python"):
            assert fault not in err, err
        assert usage.ru_utime + usage.ru_stime < LONGEST
        return Ended(128 - code if code < 0 else code, out, err, seconds)

    def _read(self) -> None:
        for index, (reader, _) in enumerate(self.pipes):
            while True:
                try:
                    text = os.read(reader, 1 << 16)
                except BlockingIOError:
                    break
                if not text:
                    break
                self.texts[index] += text


def _become(arguments: list[str], prepare: Callable[[], object], writers: list[int]) -> None:
    """What a forked process does: be the command, and end."""
    code: object = 99
    try:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor, writer in zip((1, 2), writers, strict=True):
            os.dup2(writer, descriptor)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", 1) for number in (1, 2))
        sys.argv = ["cpixelcnn", *arguments]
        prepare()
        interrupt.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 98)


def call(*arguments: str, prepare: Callable[[], object] = lambda: None) -> Ended:
    return Process(list(arguments), prepare).wait()


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """All that a command needs, before the fork, so that it begins with its work."""
    for module in pkgutil.walk_packages(cpixelcnn.__path__, "cpixelcnn."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("matplotlib.backends.backend_agg", "sklearn.metrics", "torchvision"):
        importlib.import_module(name)


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[tuple[str, int]]]:
    """How often commands ended with which exit code, by what happened to them."""
    counted: Counter[tuple[str, int]] = Counter()
    yield counted
    for (kind, code), number in sorted(counted.items()):
        print(f"{kind:40} exit code {code:3}: {number:4}")
    print(f"{'all':40} {counted.total():19}")


@pytest.fixture(autouse=True)
def place(alone: None, own_photographs: Path) -> None:
    """The working directory: a run, photographs, and the folders that commands write into."""
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(".", filter="data")
    for name in ("rows", "saved"):
        Path(name).mkdir()


@dataclass
class Reference:
    """What a command leaves that nothing happens to."""

    seconds: float
    files: dict[str, str]


def files(name: str) -> dict[str, str]:
    """Digests of what a command has made, but for what tells of times and places."""
    if name == "train":  # the order of a header is chance
        weights = {kind: load_file(Path("mine/last") / kind) for kind in ("model.safetensors", "ema.safetensors")}
        return {f"{kind} {key}": digest(of[key].numpy()) for kind, of in weights.items() for key in of}
    if name == "eval":
        with np.load("saved/l.npz") as arrays:
            return {"log-likelihoods": digest(arrays["log_likelihoods"])}
    made = (path for path in Path(OUT[name]).rglob("*") if path.is_file() and path.suffix != ".json")
    return {path.name: file_digest(path) for path in made}


def digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


_references: dict[str, Reference] = {}


@pytest.fixture
def reference(place: None) -> Callable[[str], Reference]:
    def of(name: str) -> Reference:
        if name not in _references:
            ended = call(*command(name))
            assert ended.code == 0, ended.err
            _references[name] = Reference(ended.seconds, files(name))
            shutil.rmtree(OUT[name])
            if name in ("classify", "eval"):
                Path(OUT[name]).mkdir()
        return _references[name]

    return of


def finish(name: str, expected: Reference) -> None:
    """What was begun is sound, and the command that goes on ends where an undisturbed one ends."""
    again = command(name)
    if name == "train" and (saved := checkpoint_paths(Path("mine"))):
        for checkpoint in saved:
            verify_checkpoint(checkpoint)
        again = ["train", "--resume", "mine"]
    ended = call(*again)
    assert ended.code == 0, ended.err
    assert files(name) == expected.files


def rows_are_whole(name: str) -> None:
    """Rows that were written before an end are whole; a full disk may cut the last one."""
    if name == "classify" and (partial := Path("rows/a.csv.part")).exists():
        lines = partial.read_text().splitlines()[:-1]
        assert len({line.count(",") for line in lines}) <= 1


# Signals -----------------------------------------------------------------------------------------------------------


def freeze(process: Process, number: int) -> None:
    process.signal(signal.SIGSTOP, number)
    time.sleep(0.3)
    process.signal(signal.SIGCONT)


WAYS: dict[str, Callable[[Process, int], None]] = {
    "once": lambda process, number: process.signal(number),
    "twice": lambda process, number: process.signal(number, number),
    "frozen": freeze,
    "all three": lambda process, number: process.signal(signal.SIGHUP, signal.SIGTERM, signal.SIGINT),
}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", OUT)
def test_a_signal(
    reference: Callable[[str], Reference], counts: Counter[tuple[str, int]], name: str, number: int, way: str
) -> None:
    expected = reference(name)
    chance = random.Random(f"{SEED} {name} {number} {way}")
    process = Process(command(name))
    time.sleep(chance.uniform(0, expected.seconds))
    WAYS[way](process, number)
    ended = process.wait()
    assert ended.code in {0, *(128 + each for each in (SIGNALS if way == "all three" else [number]))}, ended.err
    counts[f"{signal.Signals(number).name} {way}", ended.code] += 1
    rows_are_whole(name)
    if ended.code:
        finish(name, expected)
    else:
        assert files(name) == expected.files


# Folders that go away ----------------------------------------------------------------------------------------------


def gone(path: str) -> Callable[[], None]:
    return lambda: shutil.rmtree(path, ignore_errors=True)


def a_file(path: str) -> Callable[[], None]:
    def change() -> None:
        shutil.rmtree(path, ignore_errors=True)
        Path(path).write_bytes(b"")

    return change


CHANGES = {"gone": gone, "a file": a_file}
PLACES = {
    "train": ["mine", "mine/checkpoints", "photographs"],
    "sample": ["out"],
    "classify": ["rows", "photographs"],
    "eval": ["saved", "photographs"],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in PLACES.items() for path in paths])
def test_a_folder(
    reference: Callable[[str], Reference], counts: Counter[tuple[str, int]], name: str, path: str, change: str
) -> None:
    """It goes away at a random moment; what is left of the run afterwards is sound."""
    seconds = reference(name).seconds
    chance = random.Random(f"{SEED} {name} {path} {change}")
    process = Process(command(name))
    time.sleep(chance.uniform(0, seconds))
    CHANGES[change](path)()
    ended = process.wait()
    assert ended.code in DOCUMENTED, ended.err
    assert (ended.code == 0) or re.search(r"^error: ", ended.err, re.M)
    counts[f"folder {change}", ended.code] += 1


@pytest.mark.parametrize("name", OUT)
def test_the_working_directory(counts: Counter[tuple[str, int]], name: str) -> None:
    """It was removed before the command began, as happens to a terminal in a folder that somebody else deletes."""

    def lose() -> None:
        Path("lost").mkdir()
        os.chdir("lost")
        Path("../lost").rmdir()

    ended = call(*command(name), prepare=lose)
    assert ended.code in DOCUMENTED - {0}, ended.err
    assert "error: " in ended.err
    counts["no working directory", ended.code] += 1


# Too little --------------------------------------------------------------------------------------------------------


def limit(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


LIMITS: dict[str, Callable[[], None]] = {
    **{f"files of {size} bytes": limit(resource.RLIMIT_FSIZE, size) for size in (0, 2_000, 30_000)},
    **{f"{count} open files": limit(resource.RLIMIT_NOFILE, count) for count in (4, 9)},
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("name", OUT)
def test_a_limit(
    reference: Callable[[str], Reference], counts: Counter[tuple[str, int]], name: str, limit: str
) -> None:
    """Without the limit, the command goes on where it was stopped."""
    expected = reference(name)
    ended = call(*command(name), prepare=LIMITS[limit])
    assert ended.code in DOCUMENTED, ended.err
    assert ended.code == 0 or "error: " in ended.err
    counts[limit.partition(" of ")[0].lstrip("0123456789 "), ended.code] += 1
    rows_are_whole(name)
    if ended.code:
        finish(name, expected)


@pytest.fixture
def disk() -> Iterator[Callable[[str, str], None]]:
    """Mount a small disk at a path, with these options."""
    mounted: list[str] = []

    def mount(path: str, options: str) -> None:
        Path(path).mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("this user cannot mount a disk")
        mounted.append(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


DISKS = ["ro", "nr_inodes=3", *(f"size={kilobytes}k" for kilobytes in (4, 60, 330))]


@pytest.mark.parametrize("options", DISKS)
@pytest.mark.parametrize("name", OUT)
def test_a_disk(
    reference: Callable[[str], Reference],
    counts: Counter[tuple[str, int]],
    disk: Callable[[str, str], None],
    name: str,
    options: str,
) -> None:
    """With room, the command goes on where it was stopped."""
    expected = reference(name)
    disk(OUT[name], options)
    ended = call(*command(name))
    assert ended.code in DOCUMENTED, ended.err
    assert ended.code == 0 or "error: " in ended.err
    counts[f"disk {options.partition('=')[0]}", ended.code] += 1
    rows_are_whole(name)
    subprocess.run(["mount", "-o", "remount,rw,size=40m,nr_inodes=9999", OUT[name]], check=True)
    if ended.code:
        finish(name, expected)
