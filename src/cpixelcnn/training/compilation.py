"""The network through torch.compile: fused element-wise work where launching it one by one is what takes the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class CompilationChoice:
    """Whether the network is compiled, and why."""

    wanted: bool
    reason: str


def choose_compilation(name: str, device: torch.device) -> CompilationChoice:
    """Resolve auto, on or off. "auto" compiles on CUDA devices only."""
    if name != "auto":
        return CompilationChoice(name == "on", "as asked")
    if device.type == "cuda":
        return CompilationChoice(True, "auto: a GPU")
    return CompilationChoice(False, f"auto: on a {device.type.upper()} it is no faster")


class CompiledNetwork(nn.Module):
    """A network that is compiled for batches of one size; others (the last of an epoch, say) go through it as it is.

    Where it cannot be compiled, it is used as it is from then on.

    Args:
        network: a `PixelCNN`, or what wraps it.
        images: how many a batch has.
        warn: is told where compiling fails.
    """

    def __init__(self, network: nn.Module, images: int, warn: Callable[[str], None]) -> None:
        super().__init__()
        self.network, self.images, self.warn = network, images, warn
        self.compiled: Callable[[Tensor, Tensor], Tensor] | None = torch.compile(network, dynamic=False)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """See `PixelCNN.forward`."""
        if self.compiled is not None and len(x) == self.images:
            try:
                return self.compiled(x, labels)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # whatever compiler and tools make of it
                self.compiled = None
                reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
                self.warn(f"torch.compile failed ({reason}); training goes on without it")
        parameters: Tensor = self.network(x, labels)
        return parameters
