"""What processes tell each other; alone, nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import distributed_work
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.distributed import ALONE, Processes, joined_processes
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.training.parallel import ParallelNetwork


@given(n=st.integers(0, 50), count=st.integers(1, 9))
def test_shares_are_neighbours_of_nearly_one_size(n: int, count: int) -> None:
    shares = [Processes(rank, count).share(range(n)) for rank in range(count)]
    assert [index for share in shares for index in share] == list(range(n))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    rows = torch.arange(3)
    with joined_processes() as processes:
        assert processes is ALONE
        assert processes.is_main
        processes.barrier()
        assert processes.broadcast(max, [1, 2], key=lambda i: -i) == 1
        assert processes.all_gather("me") == ["me"]
        assert processes.gather(rows) is rows
        with pytest.raises(DataError), processes.together():
            raise DataError("mine")
    assert not torch.distributed.is_initialized()


def test_a_training_alone_does_not_wrap_its_model(make_model: Callable[..., PixelCNN]) -> None:
    parallel = ParallelNetwork(make_model(), ALONE)
    assert isinstance(parallel.network, PixelCNN)
    assert parallel.local_part(8) == (slice(0, 8), 1.0)
    with parallel.averaging(last=False), parallel.averaging(last=True):
        pass


def test_what_three_processes_tell_each_other(start: Callable[..., Any]) -> None:
    members = start(distributed_work.exchanges, 3).members()
    assert [member.code for member in members] == [0, 0, 0], [member.err for member in members]
    for rank, member in enumerate(members):
        found = member.result
        assert found["from leader"] == "made by 0"
        assert found["all_gather"] == ["process 0", "process 1", "process 2"]
        assert found["gathered"].tolist() == [[1, 1], [2, 2], [2, 2]]
        assert found["copied"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
        assert found["nobody fails"] == ""
        assert found["one fails"] == ("DataError: mine" if rank == 1 else "OtherProcessError 3")
        assert found["two fail"] == ("ZeroDivisionError" if rank == 1 else "OtherProcessError 1")
        assert found["one is stopped"] == "Interrupted 15"
        assert found["a failure comes before a stop"] == ("DataError: mine" if rank == 2 else "OtherProcessError 3")
        assert found["the leader fails"] == ("DataError: mine" if rank == 0 else "OtherProcessError 3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1234"}, "RANK not set"),
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT not set"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "2", "RANK": "x", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK is 'x'"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK 2 of WORLD_SIZE 2"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "99999"}, "MASTER_PORT 99999"),
    ],
)
def test_half_of_what_torchrun_sets_is_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message), joined_processes():
        pass
