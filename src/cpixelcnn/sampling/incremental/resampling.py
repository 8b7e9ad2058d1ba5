"""From one resolution to the next and back: both streams halved and doubled, a row or a pixel at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from cpixelcnn.model.layers import WeightNormConv
from cpixelcnn.sampling.incremental.activations import PixelRow, RowPair, convolve_row
from cpixelcnn.sampling.incremental.blocks import as_matrix, folded
from cpixelcnn.sampling.incremental.buffers import BufferPool


class DownsampleRow:
    """Halves the *u* stream: every second row, (N, W, F) -> (N, W / 2, F)."""

    def __init__(self, conv: WeightNormConv, n: int, width: int, buffers: BufferPool) -> None:
        self.weight, self.bias = folded(conv, buffers)
        self.rows = RowPair(n, width, self.weight.shape[1], buffers)

    def push(self, u: Tensor) -> Tensor:
        return self.rows.push(u)

    def __call__(self, u: Tensor) -> Tensor:
        return convolve_row(self.push(u), self.weight, self.bias, stride=2)


class DownsamplePixel:
    """Halves the *ul* stream: a pixel from its own column 2j', the one before it, and the row above."""

    def __init__(self, conv: WeightNormConv, n: int, width: int, buffers: BufferPool) -> None:
        weight, self.bias = folded(conv, buffers)
        self.above, self.matrix = weight[:, :, :1].contiguous(), as_matrix(weight)
        self.row = PixelRow(n, width, weight.shape[1], buffers)
        self.rest: tuple[Tensor, ...] = ()

    def begin_row(self) -> None:
        self.rest = convolve_row(self.row.above, self.above, self.bias, stride=2).unbind(1)

    def write(self, column: int, ul: Tensor) -> None:
        self.row.at[column].copy_(ul)

    def __call__(self, column: int) -> Tensor:
        """The pixel at a column of the smaller level, (N, F)."""
        return torch.addmm(self.rest[column], self.row.windows[2 * column], self.matrix)


class UpsampleRow:
    """Doubles the *u* stream: one row of the smaller level makes two, (N, W / 2, F) -> (N, 2, W, F)."""

    def __init__(self, conv: WeightNormConv, n: int, width: int, buffers: BufferPool) -> None:
        self.conv, (self.weight, self.bias) = conv, folded(conv, buffers)
        self.rows = buffers.zeros(n, 2, width, self.weight.shape[1])

    def set(self, u: Tensor) -> None:
        doubled = self.conv.convolve(u[:, None].permute(0, 3, 1, 2), self.weight, self.bias)
        self.rows.copy_(doubled.permute(0, 2, 3, 1))

    def row(self, which: int) -> Tensor:
        """The upper (0) or lower (1) of the two rows, (N, W, F)."""
        return self.rows[:, which]


class UpsamplePixel:
    """Doubles the *ul* stream: one pixel of the smaller level makes 2 x 2, two of which wait for the next row."""

    def __init__(self, conv: WeightNormConv, n: int, width: int, buffers: BufferPool) -> None:
        weight, bias = folded(conv, buffers)
        nr_filters = weight.shape[1]
        self.matrix = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)  # F -> 2 rows, 2 columns, F
        self.bias = bias.repeat(4)
        half = -(-width // 2)
        self.doubled = buffers.zeros(half, n, 4 * nr_filters)
        self.places = self.doubled.unbind(0)
        self.pixels = [torch.split(place, nr_filters, dim=1) for place in self.places]

    def set(self, column: int, ul: Tensor) -> None:
        """ul (N, F) at a column of the smaller level."""
        torch.addmm(self.bias, ul, self.matrix, out=self.places[column])

    def pixel(self, which_row: int, column: int) -> Tensor:
        """The pixel of the upper (0) or lower (1) row at a column of the larger level, (N, F)."""
        return self.pixels[column // 2][2 * which_row + column % 2]
