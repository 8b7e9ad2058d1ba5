"""The network through torch.compile, which fuses element-wise operations that are slow to launch one by one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cpixelcnn.device import CompilationChoice
from cpixelcnn.errors import first_line


def choose_compilation(name: str, device: torch.device) -> CompilationChoice:
    """Resolve auto, on or off. "auto" is off until measurements say on which devices it pays."""
    if name != "auto":
        return CompilationChoice(name == "on", "as asked")
    return CompilationChoice(False, f"auto: whether it pays on {device.type} has not been measured")


class CompiledNetwork(nn.Module):
    """A network that is compiled for certain sizes of batches; others (such as the last of an epoch) run uncompiled.

    Args:
        network: a `PixelCNN`, or what wraps it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.compiled: Callable[..., Tensor] = torch.compile(network, dynamic=False)
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
            reason = first_line(cause)
            warn(f"torch.compile failed ({reason}); the training goes on without it")
            return False
        finally:
            self.learning = False
        return True

    def forward(self, x: Tensor, labels: Tensor, *orientations: Tensor) -> Tensor:
        """See `PixelCNN.forward`."""
        if self.learning:
            self.sizes.add(len(x))
        if len(x) in self.sizes:
            return self.compiled(x, labels, *orientations)
        parameters: Tensor = self.network(x, labels, *orientations)
        return parameters
