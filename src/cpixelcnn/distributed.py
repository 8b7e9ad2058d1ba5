"""Several processes that share a piece of work, as torchrun starts them; alone where nothing started any others.

What they tell each other here (numbers, objects, rows of results) is small and goes over gloo, on whatever device they
compute. Alone, every method is the identity, and torch.distributed is not even imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cpixelcnn.errors import ConfigError, CpixelcnnError, Interrupted, OtherProcessError, first_line

if TYPE_CHECKING:
    from torch import Tensor

TIMEOUT = timedelta(minutes=30)  # how long a process waits for another before it gives up
_NO_FAILURE = 2**62

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Processes:
    """This process among those that share the work.

    All methods but `share`, `part` and `together` wait for the others: each process must call them, in the same order.

    Attributes:
        rank: its number, 0 for the one that writes what there is one of.
        world_size: how many there are.
        local_rank: its number on this machine, which is the number of its GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.world_size == 1

    def part(self, n: int) -> slice:
        """Where this process's share of n things lies: neighbours, as many as the others have to within one.

        >>> [Processes(rank, 3).part(8) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        smaller, larger = divmod(n, self.world_size)
        start = self.rank * smaller + min(self.rank, larger)
        return slice(start, start + smaller + (self.rank < larger))

    def share(self, indices: Sequence[T]) -> list[T]:
        """This process's part of the work.

        >>> [Processes(rank, 3).share(range(8)) for rank in range(3)]
        [[0, 1, 2], [3, 4, 5], [6, 7]]
        """
        return list(indices[self.part(len(indices))])

    def barrier(self) -> None:
        """Go on when every process has come here."""
        if not self.alone:
            import torch.distributed

            torch.distributed.barrier()

    @contextmanager
    def together(self) -> Iterator[None]:
        """All processes get through the block, or none: what ends one of them ends the others after the block.

        Of several that fail, the one of lowest rank keeps its error, so that it is told once. Within the block no
        process may wait for another. A KeyboardInterrupt (a second Ctrl-C) ends this process without a word to the
        others; their launcher ends them.

        Raises:
            OtherProcessError: another process failed; with its exit code.
            Interrupted: another process was asked to stop.
        """
        if self.alone:
            yield
            return
        own: Exception | None = None
        try:
            yield
        except Exception as error:
            own = error
        code = 0 if own is None else own.exit_code if isinstance(own, CpixelcnnError) else 1
        rank, code = self._first_failure(code)
        if own is not None and (rank == self.rank or (code > 128 and isinstance(own, Interrupted))):
            raise own
        if code > 128:
            raise Interrupted("another process was asked to stop", code - 128)
        if code:
            raise OtherProcessError(code)

    def _first_failure(self, code: int) -> tuple[int, int]:
        """Rank and exit code of the first process that failed, or else was interrupted; (-1, 0) where none was."""
        import torch.distributed

        key = torch.tensor((code > 128) << 48 | self.rank << 8 | code if code else _NO_FAILURE)
        torch.distributed.all_reduce(key, torch.distributed.ReduceOp.MIN)
        first = int(key)
        return (-1, 0) if first == _NO_FAILURE else ((first >> 8) & 0xFFFFFF, first & 0xFF)

    def broadcast(self, make: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """What the leader, and it alone, makes; for all. An error of its is an end for all, as in `together`."""
        if self.alone:
            return make(*arguments, **options)
        import torch.distributed

        box: list[Any] = [None]
        with self.together():
            if self.is_main:
                box[0] = make(*arguments, **options)
        torch.distributed.broadcast_object_list(box)
        made: T = box[0]
        return made

    def all_gather(self, mine: T) -> list[T]:
        """What each process has, in the order of ranks."""
        if self.alone:
            return [mine]
        import torch.distributed

        parts: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(parts, mine)
        return parts

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (n, ...) of all processes, one behind the other in the order of ranks; each may have its own n."""
        if self.alone:
            return rows
        import torch

        return torch.cat(self.all_gather(rows))

    def broadcast_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite these tensors, of one device and type, with the leader's."""
        if self.alone:
            return
        import torch.distributed

        with torch.no_grad():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu()
            torch.distributed.broadcast(flat, 0)
            for tensor, piece in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
                tensor.copy_(piece.view(tensor.shape))


ALONE = Processes()


@contextmanager
def joined_processes(timeout: timedelta = TIMEOUT) -> Iterator[Processes]:
    """While open, this process is joined with the others that torchrun started (over gloo; none without torchrun).

    Raises:
        ConfigError: there are to be several, but the environment does not say which this one is.
        CpixelcnnError: another process has gone, or has not been heard of for so long.
    """
    if _number_from_launcher("WORLD_SIZE", 1) <= 1:
        yield ALONE
        return
    _check_launcher()
    import torch.distributed

    with_the_others = False
    try:
        torch.distributed.init_process_group("gloo", timeout=timeout)
        rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
        yield Processes(rank, count, int(os.environ.get("LOCAL_RANK", "0")))
        with_the_others = True
    except CpixelcnnError:
        with_the_others = True
        raise
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
            raise
        reason = first_line(error)
        raise CpixelcnnError(
            f"the connection to another process was lost ({reason}); see what that one said, and start all again"
        ) from None
    finally:
        if with_the_others:  # one that ends by itself must not wait for an exchange which the others are still in
            torch.distributed.destroy_process_group()


def _number_from_launcher(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"the environment variable {name} is {text!r}, which is no number; unset it") from None


def _check_launcher() -> None:
    """Refuse a WORLD_SIZE without the rest of what torchrun sets."""
    count = _number_from_launcher("WORLD_SIZE", 1)
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {count}, but {', '.join(missing)} not set; start the processes with torchrun, or unset it"
        )
    rank, port = _number_from_launcher("RANK", 0), _number_from_launcher("MASTER_PORT", 0)
    if not 0 <= rank < count or not 0 < port < 2**16 or _number_from_launcher("LOCAL_RANK", 0) < 0:
        raise ConfigError(
            f"RANK {rank} of WORLD_SIZE {count} at MASTER_PORT {port} is impossible; start the processes with torchrun"
        )
