"""The number of threads: as asked, as before, or the fastest; and another when the machine becomes busy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.config import TrainConfig
from cpixelcnn.errors import ConfigError
from cpixelcnn.training import threads as module
from cpixelcnn.training.threads import Threads, threads_restored


class Machine:
    """A processor on which a step takes a number of seconds that depends on the threads."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.time, self.trials = seconds, 0.0, 0

    def clock(self) -> float:
        return self.time

    def trial(self) -> None:
        self.trials += 1
        self.time += self.seconds[torch.get_num_threads()]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with threads_restored():
        torch.set_num_threads(2)
        yield


def threads(machine: Machine, wanted: str = "auto", recorded: int = 0, *, adaptive: bool = True) -> Threads:
    return Threads(wanted, recorded, adaptive=adaptive, clock=machine.clock)


@pytest.mark.parametrize(("seconds", "fastest"), [({1: 0.02, 2: 0.06}, 1), ({1: 0.02, 2: 0.014}, 2)])
def test_auto_takes_the_fastest(seconds: dict[int, float], fastest: int) -> None:
    machine = Machine(seconds)
    choice = threads(machine).choose(machine.trial, 1000)
    assert choice.count == torch.get_num_threads() == fastest
    assert "0.02 s" in choice.reason


@pytest.mark.parametrize(
    ("options", "steps_left", "count"),
    [
        ({"wanted": "1"}, 1000, 1),
        ({"recorded": 1}, 1000, 1),
        ({"recorded": 64}, 10, 2),  # from a larger machine
        ({}, 10, 2),
        ({"adaptive": False}, 1000, 2),
    ],
)
def test_nothing_is_measured_without_need(options: dict[str, Any], steps_left: int, count: int) -> None:
    machine = Machine({})
    assert threads(machine, **options).choose(machine.trial, steps_left).count == count
    assert torch.get_num_threads() == count
    assert machine.trials == 0


def test_when_the_machine_becomes_busy_and_idle_again() -> None:
    machine = Machine({1: 0.5, 2: 0.3})
    chosen = threads(machine)
    assert chosen.choose(machine.trial, 1000).count == 2

    def steps(count: int) -> list[str]:
        said = []
        for _ in range(count):
            seconds = machine.seconds[torch.get_num_threads()]
            machine.time += seconds
            said.append(chosen.after_step(seconds, 8, machine.trial))
        return [each for each in said if each]

    assert steps(1000) == []
    machine.seconds = {1: 0.6, 2: 2.0}
    (news,) = steps(200)
    assert "1 instead of 2 threads" in news
    machine.seconds = {1: 0.5, 2: 0.3}
    (news,) = steps(2000)
    assert "2 instead of 1 threads" in news
    machine.seconds = {1: 3.0, 2: 2.0}
    (news, *_) = steps(200)
    assert "other programs keep the processor busy" in news


def test_a_training_records_its_threads_and_keeps_them(
    fit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    fit(run, epochs=1, threads="1")
    monkeypatch.setattr(module, "FEWEST_STEPS", 0)
    fit(run, resume=True, epochs=2, threads="auto")
    calls = json.loads((run / "environment.json").read_text())
    assert [call["threads"] for call in calls] == [1, 1]
    assert torch.get_num_threads() == 2


def test_measuring_changes_nothing(
    fit: Callable[..., Any],
    state: Callable[[Path], dict[str, Any]],
    differences: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit(tmp_path / "plain", epochs=1, threads="1")
    monkeypatch.setattr(module, "FEWEST_STEPS", 0)
    monkeypatch.setattr(module, "ROUNDS", 1)
    torch.set_num_threads(1)  # with another number of threads, sums are added in another sequence
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(Threads, "_set", lambda *_: module.ThreadsChoice(1, "test"))
    fit(tmp_path / "measured", epochs=1)
    assert differences(state(tmp_path / "plain"), state(tmp_path / "measured")) == []


@pytest.mark.parametrize("wrong", ["0", "many", "-1", ""])
def test_what_is_no_number_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="`threads` must be auto, or 1 or more"):
        TrainConfig(threads=wrong)
