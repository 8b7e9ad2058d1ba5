"""One resolution of the network and all smaller ones: the way up, the next smaller level, the way down.

The *u* stream advances a row at a time, the *ul* stream a pixel at a time, and the smaller level only when the row or
column that completes its own begins: its row i' at this level's row 2i', its column j' at this level's column 2j'.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from cpixelcnn.model.layers import WeightNormConv
from cpixelcnn.model.network import NR_LEVELS, PixelCNN, StreamPair
from cpixelcnn.sampling.incremental.activations import concat_elu
from cpixelcnn.sampling.incremental.blocks import PixelBlock, RowBlock
from cpixelcnn.sampling.incremental.buffers import BufferPool
from cpixelcnn.sampling.incremental.resampling import DownsamplePixel, DownsampleRow, UpsamplePixel, UpsampleRow


class Level:
    """Level `depth` of the network (0: full, 1: half, 2: quarter resolution), for n images of `width` columns.

    The *u* stream is as wide as the network pads its input, a multiple of four, since it looks to the right; the *ul*
    stream needs the image's own columns alone.
    """

    def __init__(self, model: PixelCNN, depth: int, n: int, width: int, buffers: BufferPool) -> None:
        self.width = -(-width // 2**depth)
        padded_width = (width + -width % 4) >> depth
        up = list(cast("Iterator[StreamPair]", model.up_levels[depth]))
        down = list(cast("Iterator[StreamPair]", model.down_levels[NR_LEVELS - 1 - depth]))
        self.u_up = [RowBlock(pair.u, n, padded_width, buffers) for pair in up]
        self.u_down = [RowBlock(pair.u, n, padded_width, buffers) for pair in down]
        self.ul_up = [PixelBlock(pair.ul, n, self.width, buffers) for pair in up]
        self.ul_down = [PixelBlock(pair.ul, n, self.width, buffers) for pair in down]
        self.smaller: Level | None = None
        if depth + 1 < NR_LEVELS:
            self.smaller = Level(model, depth + 1, n, width, buffers)
            up_to, down_from = depth, NR_LEVELS - 2 - depth
            self.u_halve = DownsampleRow(_conv(model.u_halve, up_to), n, padded_width, buffers)
            self.ul_halve = DownsamplePixel(_conv(model.ul_halve, up_to), n, self.width, buffers)
            self.u_double = UpsampleRow(_conv(model.u_double, down_from), n, padded_width, buffers)
            self.ul_double = UpsamplePixel(_conv(model.ul_double, down_from), n, self.width, buffers)

    def modulate(self, class_embedding: Tensor, *, one_class: bool) -> None:
        """Set the class modulation of every block, here and below, for images of these embedded classes (N, E)."""
        for row_block in self.u_up + self.u_down:
            row_block.modulate(class_embedding)
        for pixel_block in self.ul_up + self.ul_down:
            pixel_block.modulate(class_embedding, one_class=one_class)
        if self.smaller is not None:
            self.smaller.modulate(class_embedding, one_class=one_class)

    def begin_row(self, row: int, u: Tensor) -> Tensor:
        """Advance the *u* stream by one row, (N, W, F) -> (N, W, F), and prepare the row of the *ul* stream."""
        activated = [concat_elu(u)]
        for u_block, ul_block in zip(self.u_up, self.ul_up, strict=True):
            u = u_block(u, activated[-1])
            activated.append(concat_elu(u))
            ul_block.begin_row(activated[-1][:, : self.width])
        if self.smaller is None:
            activated_u = activated.pop()
        else:
            if row % 2 == 0:
                self.u_double.set(self.smaller.begin_row(row // 2, self.u_halve(u)))
                self.ul_halve.begin_row()
            else:
                self.u_halve.push(u)
            u = self.u_double.row(row % 2)
            activated_u = concat_elu(u)
        for u_block, ul_block in zip(self.u_down, self.ul_down, strict=True):
            u = u_block(u, activated_u, activated.pop())
            activated_u = concat_elu(u)
            ul_block.begin_row(activated_u[:, : self.width])
        return u

    def pixel(self, row: int, column: int, ul: Tensor) -> Tensor:
        """Advance the *ul* stream by one pixel, (N, F) -> (N, F)."""
        skips: list[Tensor] = []
        for block in self.ul_up:
            block.inputs.write(column, ul)
            skips.append(block.inputs.at[column])
            ul = block(column, ul)
        if self.smaller is not None:
            skips.append(concat_elu(ul))
            self.ul_halve.write(column, ul)
            if row % 2 == 0 and column % 2 == 0:
                self.ul_double.set(column // 2, self.smaller.pixel(row // 2, column // 2, self.ul_halve(column // 2)))
            ul = self.ul_double.pixel(row % 2, column)
        for block in self.ul_down:
            block.inputs.write(column, ul)
            ul = block(column, ul, skips.pop())
        return ul


def _conv(layers: nn.ModuleList, i: int) -> WeightNormConv:
    return cast(WeightNormConv, layers[i])
