"""Several processes that share a piece of work, as torchrun starts them; alone where nothing started any others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Processes:
    """This process among those that share the work.

    Attributes:
        rank: its number, 0 for the one that writes what there is one of.
        count: how many there are.
        local_rank: its number on this machine, which is the number of its GPU.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def leader(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def share(self, indices: Sequence[int]) -> list[int]:
        """This process's part of the work: a run of neighbours, as long as the others' to within one.

        >>> [Processes(rank, 3).share(range(8)) for rank in range(3)]
        [[0, 1, 2], [3, 4, 5], [6, 7]]
        """
        smaller, larger = divmod(len(indices), self.count)
        start = self.rank * smaller + min(self.rank, larger)
        return list(indices[start : start + smaller + (self.rank < larger)])

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.count > 1:
            import torch.distributed

            torch.distributed.barrier()


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """While open, this process is joined with the others that torchrun started (over gloo; none without torchrun)."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or "MASTER_ADDR" not in os.environ:
        yield Processes()
        return
    import torch.distributed

    torch.distributed.init_process_group("gloo")
    try:
        rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
        yield Processes(rank, count, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        torch.distributed.destroy_process_group()
