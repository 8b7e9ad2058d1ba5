"""Numbers 23 and 25: whatever ends one of several processes ends all, at one step, told once, without a hang."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import distributed_work
import pytest

from cpixelcnn.runs.layout import checkpoint_paths, read_manifest, verify_checkpoint
from cpixelcnn.signals import GRACE
from cpixelcnn.training.checkpoint import find_checkpoint

Start = Callable[..., Any]


def told(members: list[Any]) -> list[str]:
    """Errors and other last words of all processes."""
    lines = [line for member in members for line in member.err.splitlines()]
    assert not [line for line in lines if "Traceback" in line], lines
    return [line for line in lines if "error: " in line or "resume with" in line]


@pytest.mark.parametrize(
    ("number", "rank", "code"), [(signal.SIGTERM, 1, 143), pytest.param(signal.SIGINT, 0, 130, marks=pytest.mark.slow)]
)
def test_a_signal_to_one_process_stops_all_at_one_step(
    start: Start, train_argv: list[str], tmp_path: Path, number: int, rank: int, code: int
) -> None:
    run = tmp_path / "run"
    group = start(distributed_work.command, argv=[*train_argv, "--epochs", "10000"])
    group.wait_for((run / "last" / "manifest.json").exists)
    os.kill(group.processes[rank].pid, number)
    members = group.members()
    assert [member.code for member in members] == [code, code]
    newest = checkpoint_paths(run)[-1]
    manifest = verify_checkpoint(newest)
    assert (run / "last").resolve() == newest.resolve()
    assert told(members) == [
        f"stopped after {manifest['images_seen']} images; resume with: cpixelcnn train --resume {run}"
    ]
    assert members[1].out == members[1].err == ""


@pytest.mark.parametrize(("rank", "epoch", "images_seen"), [(0, 1, 24), pytest.param(1, 2, 28, marks=pytest.mark.slow)])
def test_a_signal_while_validating(
    start: Start, train_argv: list[str], tmp_path: Path, rank: int, epoch: int, images_seen: int
) -> None:
    """There is a single batch to validate, which is process 0's; process 1 tells the others with the next step."""
    trouble = partial(distributed_work.signal_while_validating, signal.SIGTERM)
    argv = [*train_argv, "--epochs", "4"]
    members = start(distributed_work.command, argv=argv, each={rank: {"trouble": trouble}}).members()
    assert [member.code for member in members] == [143, 143], told(members)
    manifest = verify_checkpoint(tmp_path / "run" / "last")
    assert (manifest["epoch"], manifest["images_seen"]) == (epoch, images_seen)
    assert len(told(members)) == 1


def test_the_time_of_one_process_is_that_of_all(start: Start, train_argv: list[str], tmp_path: Path) -> None:
    argv = [*train_argv, "--epochs", "10000", "--max-minutes", "0.01"]
    members = start(distributed_work.command, argv=argv).members()
    assert [member.code for member in members] == [0, 0]
    assert len([line for line in told(members) if line.startswith("paused after 0.01 minutes")]) == 1
    assert not read_manifest(tmp_path / "run" / "last")["finished"]


def early_failures() -> list[Any]:
    """Arguments, trouble of which process, exit code, message."""
    slow = pytest.mark.slow
    return [
        pytest.param(["--out", "/proc/no"], {}, 2, "cannot be written to", id="leader: directory", marks=slow),
        pytest.param(["--resume", "nowhere"], {}, 4, "no such run", id="leader: plan"),
        pytest.param(
            ["--batch-size", "1"], {}, 2, "--batch-size 1 is for all processes", id="all: too small a batch", marks=slow
        ),
        pytest.param(["--device", "cuda:99"], {}, 2, "--device cuda:99 is not there", id="all: device", marks=slow),
        pytest.param([], {1: distributed_work.bad_images}, 3, "this machine is empty", id="the other: images"),
        pytest.param([], {0: distributed_work.no_room}, 4, "No space left", id="leader: the last checkpoint"),
        pytest.param(["--max-bad-steps", "2"], {1: distributed_work.not_finite}, 5, "2 steps in a row", id="NaN"),
    ]


@pytest.mark.parametrize(("options", "troubles", "code", "message"), early_failures())
def test_what_fails_in_one_process_ends_all(
    start: Start, train_argv: list[str], options: list[str], troubles: dict[int, Any], code: int, message: str
) -> None:
    started = time.monotonic()
    if "--resume" in options:
        train_argv = ["train", "--device", "cpu"]
    group = start(
        distributed_work.command,
        argv=[*train_argv, "--epochs", "1", *options],
        each={rank: {"trouble": trouble} for rank, trouble in troubles.items()},
    )
    members = group.members()
    assert [member.code for member in members] == [code, code], [member.err for member in members]
    (line,) = told(members)
    assert message in line
    assert ("process 1: " in line) is (1 in troubles and 0 not in troubles and code == 3)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("rank", "trouble", "code"),
    [(0, distributed_work.killed, -9), (1, distributed_work.out_of_memory, 1)],
)
def test_a_process_that_ends_by_itself_is_missed_at_once(
    start: Start, train_argv: list[str], tmp_path: Path, rank: int, trouble: Callable[[], None], code: int
) -> None:
    argv = [*train_argv, "--epochs", "5"]
    started = time.monotonic()
    members = start(distributed_work.command, argv=argv, each={rank: {"trouble": trouble}}).members()
    assert time.monotonic() - started < 30
    assert [member.code for member in members] == ([code, 1] if rank == 0 else [1, code])
    (line,) = told([members[1 - rank]])
    assert re.search(r"error: the connection to another process was lost .*start all again", line)
    assert code < 0 or "out of memory" in told([members[rank]])[0]
    assert verify_checkpoint(tmp_path / "run" / "last")["step"] == 3


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_two_signals_end_a_process_whose_peer_is_frozen(
    start: Start, train_argv: list[str], tmp_path: Path, number: int, code: int
) -> None:
    """It waits in torch, where no handler of Python's runs, and would for the quarter of an hour that is the limit."""
    run = tmp_path / "run"
    group = start(distributed_work.command, argv=[*train_argv, "--epochs", "10000"])
    group.wait_for((run / "last" / "manifest.json").exists)
    os.kill(group.processes[1].pid, signal.SIGSTOP)
    for _ in range(2):
        time.sleep(0.5)
        os.kill(group.processes[0].pid, number)
    sent = time.monotonic()
    group.processes[0].join(30)
    assert group.processes[0].exitcode == code
    assert time.monotonic() - sent < GRACE + 10
    found = find_checkpoint(run)
    assert found is not None
    assert found.warnings == ()
