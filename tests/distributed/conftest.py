"""Groups of processes that are joined as torchrun joins them, forked from one that has imported everything."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for the new processes, which import what they do by name
import distributed_work

TIME_LIMIT = 60.0


@dataclass(frozen=True)
class Member:
    """A process of a group that has ended."""

    code: int
    out: str
    err: str
    result: Any


class Group:
    """Processes that were started together."""

    def __init__(
        self, context: ForkServerContext, folder: Path, work: Callable[..., Any], arguments: Sequence[dict[str, Any]]
    ) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        count = len(arguments)
        self.processes = [
            context.Process(target=distributed_work.run, args=(work, rank, count, port, folder, own))
            for rank, own in enumerate(arguments)
        ]
        for process in self.processes:
            process.start()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; fail if a process ends before."""
        deadline = time.monotonic() + TIME_LIMIT
        while not condition():
            assert all(process.is_alive() for process in self.processes), [member.err for member in self.members()]
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def members(self) -> list[Member]:
        """The processes, once all have ended; fails if that takes too long."""
        deadline = time.monotonic() + TIME_LIMIT
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0))
        late = [rank for rank, process in enumerate(self.processes) if process.is_alive()]
        self.kill()
        found = []
        for rank, process in enumerate(self.processes):
            out, err = (self.folder / f"{name}.{rank}" for name in ("out", "err"))
            result = self.folder / f"result.{rank}"
            found.append(
                Member(
                    process.exitcode or 0,
                    out.read_text() if out.exists() else "",
                    err.read_text() if err.exists() else "",
                    torch.load(result, weights_only=False) if result.exists() else None,
                )
            )
        assert not late, f"processes {late} hang: {[member.err for member in found]}"
        return found

    def kill(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()
                process.join()


@pytest.fixture
def start(nursery: ForkServerContext, tmp_path: Path) -> Iterator[Callable[..., Group]]:
    """`start(work, count, each=..., **arguments)`: processes that do this work; those left at the end are killed.

    `each` gives a process, by its rank, arguments of its own.
    """
    groups: list[Group] = []

    def start(
        work: Callable[..., Any], count: int = 2, each: dict[int, dict[str, Any]] | None = None, **arguments: Any
    ) -> Group:
        folder = tmp_path / f"group-{len(groups)}"
        folder.mkdir()
        groups.append(Group(nursery, folder, work, [{**arguments, **(each or {}).get(i, {})} for i in range(count)]))
        return groups[-1]

    yield start
    for group in groups:
        group.kill()


@pytest.fixture
def results(start: Callable[..., Group]) -> Callable[..., list[Any]]:
    """What each process of a group returns, all of which must succeed."""

    def results(*arguments: Any, **options: Any) -> list[Any]:
        members = start(*arguments, **options).members()
        assert [member.code for member in members] == [0] * len(members), [member.err for member in members]
        return [member.result for member in members]

    return results


@pytest.fixture
def train_argv(photographs: Path, tmp_path: Path) -> list[str]:
    """A command line that trains a tiny model on them in `tmp_path`/run, three steps an epoch."""
    data = ["--dataset", "folder", "--data-dir", str(photographs), "--image-size", "8"]
    sizes = ["--nr-filters", "4", "--nr-logistic-mix", "2", "--batch-size", "4", "--dropout", "0"]
    run = ["--out", str(tmp_path / "run"), "--eval-interval", "1", "--precision", "float32", "--device", "cpu"]
    return ["train", *data, *sizes, *run]
