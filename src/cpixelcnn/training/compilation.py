"""The network through torch.compile: fused element-wise work where launching it one by one is what takes the time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cpixelcnn.device import CompilationChoice


def choose_compilation(name: str, device: torch.device) -> CompilationChoice:
    """Resolve auto, on or off. "auto" compiles on CUDA devices only."""
    if name != "auto":
        return CompilationChoice(name == "on", "as asked")
    if device.type == "cuda":
        return CompilationChoice(True, "auto: a GPU")
    return CompilationChoice(False, "auto: only on CUDA GPUs")


class CompiledNetwork(nn.Module):
    """A network that is compiled for certain sizes of batches; others (the last of an epoch, say) go through it as is.

    Args:
        network: a `PixelCNN`, or what wraps it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.compiled: Callable[[Tensor, Tensor], Tensor] = torch.compile(network, dynamic=False)
        self.sizes: set[int] = set()
        self.learning = False

    def learn_from(self, try_out: Callable[[], None], warn: Callable[[str], None]) -> bool:
        """Compile for the sizes of the batches that a trial passes through; returns whether that worked.

        Args:
            try_out: a forward and a backward pass: either of them is compiled when it is first needed.
            warn: is told where it fails.
        """
        self.learning = True
        try:
            try_out()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever compiler and tools make of it
            cause = getattr(error, "inner_exception", error)  # torch wraps what its backend raised
            reason = str(cause).strip().split("\n")[0][:200] or type(cause).__name__
            warn(f"torch.compile failed ({reason}); training goes on without it")
            return False
        finally:
            self.learning = False
        return True

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """See `PixelCNN.forward`."""
        if self.learning:
            self.sizes.add(len(x))
        if len(x) in self.sizes:
            return self.compiled(x, labels)
        parameters: Tensor = self.network(x, labels)
        return parameters
