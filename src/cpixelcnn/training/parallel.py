"""Training by several processes: each computes a part of every batch, and all take the same step.

The gradients are averaged while they are computed, by torch's DistributedDataParallel: over NCCL between GPUs, over
gloo between CPUs. Everything but forward and backward sees the plain model, which is the same in all processes.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cpixelcnn.device import to_device
from cpixelcnn.distributed import Processes
from cpixelcnn.errors import ConfigError, Interrupted
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.training.stopping import SIGNALS, StopRequest, TimeBudget, TimeSpent

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

TIMEOUT = timedelta(minutes=15)  # for another process; the longest wait is for process 0 to sample a grid


class ParallelNetwork:
    """The model as forward and backward use it: itself, where there are no other processes.

    Where there are, a backward pass leaves the mean over the processes of their gradients in the model's parameters.

    Args:
        model: the same in all processes.
        processes: those that train it.

    Attributes:
        group: over which they exchange what is on their devices; None is torch's default, over gloo.
    """

    def __init__(self, model: PixelCNN, processes: Processes) -> None:
        self.processes = processes
        self.network: nn.Module = model
        self.group: ProcessGroup | None = None
        if processes.alone:
            return
        from torch.distributed import new_group
        from torch.nn.parallel import DistributedDataParallel

        on_gpu = model.device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(model.device)
            self.group = new_group(  # type: ignore[assignment]  # never -100 for a member: all are
                backend="nccl", timeout=TIMEOUT
            )
        self.network = DistributedDataParallel(
            model,
            device_ids=[model.device] if on_gpu else None,
            process_group=self.group,
            gradient_as_bucket_view=True,
        )

    def local_part(self, n: int) -> tuple[slice, float]:
        """Which of the n images of a batch are this process's, and the weight of its loss.

        The loss is a sum over images divided by n, and the processes average their gradients; the sum is their number
        times that average. In a batch of fewer images than processes, a process without one computes the first image
        with weight 0, since the others wait for its gradient.
        """
        mine = self.processes.part(n)
        if mine.start == mine.stop:
            return slice(0, 1), 0.0
        return mine, float(self.processes.world_size)

    def averaging(self, last: bool) -> AbstractContextManager[None]:
        """While open, a backward pass averages gradients over the processes if it is the `last` of a step.

        Those of the passes before it are added up within each process.
        """
        if last or isinstance(self.network, PixelCNN):
            return nullcontext()
        no_sync: AbstractContextManager[None] = self.network.no_sync()  # type: ignore[operator]
        return no_sync


def check_processes(processes: Processes, device: torch.device, batch_size: int) -> None:
    """Refuse what several processes cannot train with.

    Raises:
        ConfigError: fewer images in a batch than processes, two processes on one GPU, or devices without a way between
            them.
    """
    if processes.alone:
        return
    mine = f"{device} of {socket.gethostname()}"
    everyone = processes.all_gather(mine)
    kinds = sorted({name.split(" ")[0].split(":")[0] for name in everyone})
    with processes.together():
        if batch_size < processes.world_size:
            raise ConfigError(
                f"`batch_size` {batch_size} is for all processes together, and there are {processes.world_size}; "
                "raise it, or start fewer"
            )
        if len(kinds) > 1:
            raise ConfigError(f"the processes compute on different devices ({', '.join(kinds)}); choose with `device`")
        if device.type == "cpu":
            return
        if device.type != "cuda" or not torch.distributed.is_nccl_available():
            raise ConfigError(f"several processes cannot train on {device.type} here; start one, or pass `device` cpu")
        if everyone.count(mine) > 1:
            raise ConfigError(
                f"{everyone.count(mine)} processes were given {device}; start one for each GPU of a machine, and give "
                "`device` cuda without a number"
            )


class Agreement:
    """One small exchange a step, after which all processes do the same: with its metrics, and about stopping.

    A request to stop travels with the metrics, on the device, so that no process waits for it. It takes effect when
    the metrics are read, which is after the same step in all processes.
    """

    def __init__(
        self, processes: Processes, stop: StopRequest, budget: TimeBudget, group: ProcessGroup | None = None
    ) -> None:
        self.processes, self.stop, self.budget, self.group = processes, stop, budget, group
        self.asked, self.spent = 0, False

    def all_reduce(self, metrics: Tensor) -> Tensor:
        """The metrics of a step (k,), averaged over the processes, followed by the flags that `receive` takes.

        A metric that is not finite in one process is not finite in all.
        """
        if self.processes.alone:
            return metrics
        asked = self.stop.signal_number
        flags = torch.tensor([*(asked == number for number in SIGNALS), self.budget.spent]).to(metrics.dtype)
        everything = torch.cat([metrics, to_device(flags, metrics.device)])
        torch.distributed.all_reduce(everything, group=self.group)
        return everything / self.processes.world_size

    def receive(self, flags: Sequence[float]) -> None:
        """Take the flags that followed the metrics of a step: whether any process is to stop."""
        if flags:
            *signals, spent = flags
            self.asked = next((number for number, asked in zip(SIGNALS, signals, strict=True) if asked), 0)
            self.spent = spent > 0

    def check(self) -> None:
        """End the training, in all processes after the same step, if any process is to stop.

        Raises:
            Interrupted: a stop was requested.
            TimeSpent: the time is over.
        """
        if self.processes.alone:
            self.stop.check()
            self.budget.check()
        elif self.asked:
            raise Interrupted("stopped on request", self.asked)
        elif self.spent:
            raise TimeSpent
