"""Where the incremental sampler keeps activations: along the current row (*ul*), or of the last two rows (*u*).

All are channels-last, so that a pixel's channels, and those of the pixel to its left, lie side by side and enter a
matrix product as one vector, without being copied.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cpixelcnn.sampling.incremental.buffers import BufferPool


class PixelRow:
    """One activation of the *ul* stream along the current row, behind a column of zeros: the convolutions' padding.

    Until a pixel is written, its place holds that of the row above.

    Attributes:
        buffer: (N, W + 1, channels).
        at: the activation at each column, (N, channels).
        windows: the two columns that a convolution ending at each column sees, left one first, (N, 2 channels).
    """

    def __init__(self, n: int, width: int, channels: int, buffers: BufferPool) -> None:
        self.buffer = buffers.zeros(n, width + 1, channels)
        self.at = self.buffer[:, 1:].unbind(1)
        strides = (channels, self.buffer.stride(0), 1)
        self.windows = self.buffer.as_strided((width, n, 2 * channels), strides).unbind(0)

    @property
    def above(self) -> Tensor:
        """The row as the input of a convolution, (N, channels, 1, W + 1)."""
        return self.buffer[:, None].permute(0, 3, 1, 2)


class ActivatedPixelRow(PixelRow):
    """A `PixelRow` of concat_elu(x) = [elu(x), elu(-x)], for x of `nr_filters` channels."""

    def __init__(self, n: int, width: int, nr_filters: int, buffers: BufferPool) -> None:
        super().__init__(n, width, 2 * nr_filters, buffers)
        self._halves = [pixel.chunk(2, dim=1) for pixel in self.at]

    def write(self, column: int, x: Tensor) -> None:
        """Put concat_elu of x (N, nr_filters) at a column."""
        positive, negative = self._halves[column]
        positive.copy_(x)
        torch.neg(x, out=negative)
        F.elu_(self.at[column])


class RowPair:
    """One activation of the *u* stream in the last two rows, between columns of zeros: the convolutions' padding.

    Attributes:
        buffer: (N, 2, W + 2, channels), the older row first.
    """

    def __init__(self, n: int, width: int, channels: int, buffers: BufferPool) -> None:
        self.buffer = buffers.zeros(n, 2, width + 2, channels)

    def push(self, row: Tensor) -> Tensor:
        """Append a row (N, W, channels) and return both as the input of a convolution, (N, channels, 2, W + 2)."""
        self.buffer[:, 0].copy_(self.buffer[:, 1])
        self.buffer[:, 1, 1:-1].copy_(row)
        return self.buffer.permute(0, 3, 1, 2)


def concat_elu(x: Tensor) -> Tensor:
    """elu of x and of -x, side by side: (..., C) -> (..., 2C)."""
    return F.elu_(torch.cat([x, -x], dim=-1))


def convolve_row(rows: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """One row of a convolution: rows (N, C, kernel rows, W), weight (C', C, rows, columns) -> (N, W', C').

    `stride` counts columns.
    """
    return F.conv2d(rows, weight, bias, (1, stride)).permute(0, 2, 3, 1)[:, 0]
