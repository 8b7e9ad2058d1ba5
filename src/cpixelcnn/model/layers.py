"""The layers of PixelCNN++: shifted convolutions with weight normalisation, and the gated residual block.

Two kinds of convolution keep the model autoregressive without masks (Salimans et al. 2017, arXiv 1701.05517; the shifts
are those of van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders", arXiv 1606.05328):

* *down-shifted*: the output at row i sees the input at rows <= i and at every column near it (the *u* stream);
* *down-right-shifted*: the output at (i, j) sees the input at rows <= i and columns <= j (the *ul* stream).

Each pads at the top (and left) only, so no output looks at what lies below (or to the right of) it. The network
shifts its first layers by one row and one column, which turns "<=" into "<".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpixelcnn.model import fused
from cpixelcnn.model.conditioning import FiLM
from cpixelcnn.model.fused.dropout import dropout_mask
from cpixelcnn.model.fused.folded import FoldedBlock
from cpixelcnn.model.fused.gated_residual import gated_residual
from cpixelcnn.model.fused.weight_norm import weight_norm

_SMALLEST_VARIANCE = 1e-6  # below it a channel counts as constant over the initialising batch, and has no scale to set


class WeightNormConv(nn.Module):
    """Convolution with weight normalisation,  y = (g * v / ||v||) * x + b.

    Salimans & Kingma 2016, arXiv 1602.07868, equation 2.

    The norm is taken over everything but the output channel. For a transposed convolution that channel is axis 1 of the
    weight, not axis 0.

    Args:
        in_channels, out_channels: channels of input and output.
        kernel_size: rows and columns of the kernel.
        stride: 1, or 2 to halve (transposed: double) the resolution.
        transposed: a transposed convolution, whose output is exactly `stride` times as large as its input.
        init_scale: standard deviation of the outputs after the data-dependent initialisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: int = 1,
        *,
        transposed: bool = False,
        init_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.transposed = transposed
        self.init_scale = init_scale
        self.initialising = False
        channels = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        self.v = nn.Parameter(torch.randn(*channels, *kernel_size).mul_(0.05))
        self.g = nn.Parameter(torch.ones(out_channels))
        self.b = nn.Parameter(torch.zeros(out_channels))

    def weight(self, scale: float = 1.0) -> Tensor:
        """The weight that the convolution uses, g * v / ||v||, times `scale`; laid out for torch's own convolutions."""
        return weight_norm(self.v, self.g, axis=1 if self.transposed else 0, scale=scale)

    def forward(self, x: Tensor) -> Tensor:
        if self.initialising:
            self._initialise(x)
        return self.convolve(x, self.weight(), self.b)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if not self.transposed:
            return F.conv2d(x, weight, bias, self.stride)
        # Of the kernel's columns beyond the stride, half are cut on either side; the output is exactly twice the input.
        surplus = weight.shape[3] - self.stride
        return F.conv_transpose2d(x, weight, bias, self.stride, padding=(0, surplus), output_padding=(0, surplus))

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        """Set g and b so that this batch's outputs have mean 0 and deviation `init_scale` (same paper, section 3)."""
        self.g.fill_(1.0)
        self.b.zero_()
        pre_activation = self.convolve(x, self.weight(), self.b).float()
        variance, mean = torch.var_mean(pre_activation, dim=(0, 2, 3), correction=0)
        variance = torch.where(variance < _SMALLEST_VARIANCE, 1.0, variance)
        self.g.copy_(self.init_scale / variance.sqrt())
        self.b.copy_(-mean * self.g)


@contextmanager
def data_dependent_initialisation(network: nn.Module) -> Iterator[None]:
    """While the context is open, one forward pass sets g and b of every `WeightNormConv` from that pass's batch."""
    layers = [module for module in network.modules() if isinstance(module, WeightNormConv)]
    for layer in layers:
        layer.initialising = True
    try:
        yield
    finally:
        for layer in layers:
            layer.initialising = False


class DownShiftedConv(WeightNormConv):
    """Convolution whose output at row i sees rows <= i; `kernel_size` (2, 3) unless given."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int] = (2, 3),
        stride: int = 1,
        init_scale: float = 1.0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, init_scale=init_scale)
        rows, columns = kernel_size
        self.padding = ((columns - 1) // 2, (columns - 1) // 2, rows - 1, 0)  # left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.padding))


class DownRightShiftedConv(WeightNormConv):
    """Convolution whose output at (i, j) sees rows <= i and columns <= j; `kernel_size` (2, 2) unless given."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int] = (2, 2),
        stride: int = 1,
        init_scale: float = 1.0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, init_scale=init_scale)
        rows, columns = kernel_size
        self.padding = (columns - 1, 0, rows - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.padding))


class DownShiftedDeconv(WeightNormConv):
    """Doubles the resolution of the *u* stream: output rows 2i and 2i + 1 come from input row i alone."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, (2, 3), stride=2, transposed=True)


class DownRightShiftedDeconv(WeightNormConv):
    """Doubles the resolution of the *ul* stream: each input pixel makes the 2 x 2 output pixels in its place."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, (2, 2), stride=2, transposed=True)


class NetworkInNetwork(WeightNormConv):
    """A linear map of the channels at every pixel ("nin", a 1 x 1 convolution)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, (1, 1))


def concat_elu(x: Tensor) -> Tensor:
    """elu of x and of -x, side by side: (N, C, H, W) -> (N, 2C, H, W); invertible, so no information is cut off."""
    return torch.cat([F.elu(x), F.elu(-x)], dim=1)


def down_shift(x: Tensor) -> Tensor:
    """Every row moves down by one; a row of zeros enters at the top and the last row leaves."""
    return F.pad(x, (0, 0, 1, 0))[:, :, :-1, :]


def right_shift(x: Tensor) -> Tensor:
    """Every column moves right by one; a column of zeros enters at the left and the last column leaves."""
    return F.pad(x, (1, 0, 0, 0))[:, :, :, :-1]


class ElementDropout(nn.Module):
    """Dropout of single elements, not of whole channels; while training, what is kept is scaled by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    @property
    def scale(self) -> float:
        """What the elements that are kept are multiplied by."""
        return 1.0 / (1.0 - self.p)

    def mask(self, x: Tensor) -> Tensor | None:
        """1 for every element of x that is kept and 0 for the others; None where all are kept."""
        return dropout_mask(x, self.p) if self.training and self.p > 0 else None

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask(x)
        return x if mask is None else x * mask * self.scale


class GatedResidualBlock(nn.Module):
    """x + a * sigmoid(b), where a and b are the halves of two convolutions' output (Salimans et al. 2017, section 2.5).

    The first convolution may receive a second input through a 1 x 1 convolution (the other stream, or a skip
    connection). FiLM modulates the output of the *second* convolution, that is a and b themselves: behind the
    dropout, which would otherwise delete half of the modulation, and in front of the gate, as in the original's class
    conditioning.

    Args:
        conv: `DownShiftedConv` for the u stream, `DownRightShiftedConv` for the ul stream.
        nr_filters: channels F of input and output.
        skip_channels: channels of the second input, 0 for none.
        dropout: probability with which single elements (not whole channels) are dropped between the convolutions.
        film: the class modulation of 2F channels, or None.
    """

    def __init__(
        self,
        conv: type[DownShiftedConv] | type[DownRightShiftedConv],
        nr_filters: int,
        skip_channels: int,
        dropout: float,
        film: FiLM | None,
    ) -> None:
        super().__init__()
        self.conv_in = conv(2 * nr_filters, nr_filters)
        self.skip = NetworkInNetwork(2 * skip_channels, nr_filters) if skip_channels else None
        self.dropout = ElementDropout(dropout)
        self.conv_out = conv(2 * nr_filters, 2 * nr_filters, init_scale=0.1)
        self.film = film
        self.folded: FoldedBlock | None = None  # while `folded_for_class` is open

    def forward(self, x: Tensor, skips: Sequence[Tensor] = (), class_embedding: Tensor | None = None) -> Tensor:
        """The output of the block.

        Args:
            x: (N, F, H, W).
            skips: further inputs, of `skip_channels` channels together.
            class_embedding: (N, E), for FiLM.

        Returns:
            (N, F, H, W).
        """
        if fused.applicable() and not self.conv_in.initialising:
            # The same function as one node of the autograd graph: a third of the memory and fewer passes over it.
            return gated_residual(self, x, skips, class_embedding)
        h = self.conv_in(concat_elu(x))
        if self.skip is not None:
            h = h + self.skip(concat_elu(torch.cat(list(skips), dim=1)))
        h = self.conv_out(self.dropout(concat_elu(h)))
        if self.film is not None:
            assert class_embedding is not None
            h = self.film(h, class_embedding)
        a, b = h.chunk(2, dim=1)
        y: Tensor = x + a * torch.sigmoid(b)
        return y
