"""The gated residual block of both streams, one row or one pixel at a time, from plain folded weights.

The class modulation belongs to each image of a batch (`modulate`), all else to the model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cpixelcnn.model.layers import GatedResidualBlock, WeightNormConv
from cpixelcnn.sampling.incremental.activations import ActivatedPixelRow, RowPair, concat_elu, convolve_row
from cpixelcnn.sampling.incremental.buffers import BufferPool


def folded(conv: WeightNormConv, buffers: BufferPool) -> tuple[Tensor, Tensor]:
    """Weight (with the norm multiplied in) and bias of a convolution."""
    return buffers.place(conv.weight()), buffers.place(conv.b)


def as_matrix(weight: Tensor) -> Tensor:
    """The last kernel row of a convolution, (C', C, rows, columns), as a matrix (columns * C, C') behind a window."""
    return weight[:, :, -1].permute(2, 1, 0).reshape(-1, weight.shape[0]).contiguous()


class Modulation:
    """FiLM of one block for the images of a batch: gamma and beta, (N, 1, 2F)."""

    def __init__(self, block: GatedResidualBlock, n: int, buffers: BufferPool) -> None:
        assert block.film is not None
        self.film = block.film
        channels = block.conv_out.b.numel()
        self.gamma, self.beta = buffers.zeros(n, 1, channels), buffers.zeros(n, 1, channels)

    def set(self, class_embedding: Tensor) -> None:
        """Compute both for the classes of a batch, embedded: (N, E)."""
        gamma, beta = self.film.gamma_beta(class_embedding)
        self.gamma.copy_(gamma[:, None, :, 0, 0])
        self.beta.copy_(beta[:, None, :, 0, 0])

    def __call__(self, h: Tensor) -> Tensor:
        """gamma * h + beta, for h (N, W, 2F)."""
        return torch.addcmul(self.beta, self.gamma, h)


class RowBlock:
    """A gated residual block of the *u* stream: a row enters, a row leaves."""

    def __init__(self, block: GatedResidualBlock, n: int, width: int, buffers: BufferPool) -> None:
        nr_filters = block.conv_in.b.numel()
        self.weight_in, self.bias_in = folded(block.conv_in, buffers)
        self.weight_out, self.bias_out = folded(block.conv_out, buffers)
        self.weight_skip: Tensor | None = None
        if block.skip is not None:
            weight_skip, bias_skip = folded(block.skip, buffers)
            self.weight_skip = weight_skip[:, :, 0, 0].T.contiguous()
            self.bias_in = self.bias_in + bias_skip
        self.modulation = None if block.film is None else Modulation(block, n, buffers)
        self.inputs = RowPair(n, width, 2 * nr_filters, buffers)
        self.hidden = RowPair(n, width, 2 * nr_filters, buffers)

    def modulate(self, class_embedding: Tensor) -> None:
        """Set the class modulation for images of these embedded classes (N, E)."""
        if self.modulation is not None:
            self.modulation.set(class_embedding)

    def __call__(self, u: Tensor, activated: Tensor, activated_skip: Tensor | None = None) -> Tensor:
        """u (N, W, F), its concat_elu (N, W, 2F) and that of the long skip (N, W, 2F) -> (N, W, F)."""
        h = convolve_row(self.inputs.push(activated), self.weight_in, self.bias_in)
        if self.weight_skip is not None:
            assert activated_skip is not None
            h = h + activated_skip @ self.weight_skip
        h = convolve_row(self.hidden.push(concat_elu(h)), self.weight_out, self.bias_out)
        if self.modulation is not None:
            h = self.modulation(h)
        return u + F.glu(h)


class PixelBlock:
    """A gated residual block of the *ul* stream: what the row above and *u* contribute is computed a row at a time
    (`begin_row`), what the pixel itself and the one to its left contribute at each pixel.
    """

    def __init__(self, block: GatedResidualBlock, n: int, width: int, buffers: BufferPool) -> None:
        nr_filters = block.conv_in.b.numel()
        weight_in, self.bias_in = folded(block.conv_in, buffers)
        weight_out, self.bias_out = folded(block.conv_out, buffers)
        self.above_in, self.above_out = weight_in[:, :, :1].contiguous(), weight_out[:, :, :1].contiguous()
        self.matrix_in, self.unmodulated_out = as_matrix(weight_in), as_matrix(weight_out)

        # The second input is concat_elu of [u] or of [u, skip]: [u, -u] or [u, skip, -u, -skip].
        assert block.skip is not None
        weight_skip, bias_skip = folded(block.skip, buffers)
        self.bias_in = self.bias_in + bias_skip
        pieces = torch.split(weight_skip[:, :, 0, 0].T, nr_filters)
        self.matrix_u = torch.cat(pieces[:: len(pieces) // 2])
        self.matrix_skip = torch.cat(pieces[1::2]) if len(pieces) == 4 else None

        self.modulation = None if block.film is None else Modulation(block, n, buffers)
        self.matrix_out = self.unmodulated_out.clone()
        self.gamma: Tensor | None = None
        self.inputs = ActivatedPixelRow(n, width, nr_filters, buffers)
        self.hidden = ActivatedPixelRow(n, width, nr_filters, buffers)
        self.h, self.product = buffers.zeros(n, nr_filters), buffers.zeros(n, 2 * nr_filters)
        self.rest_in: tuple[Tensor, ...] = ()
        self.rest_out: tuple[Tensor, ...] = ()

    def modulate(self, class_embedding: Tensor, *, one_class: bool) -> None:
        """The same for this stream; gamma is multiplied into the weights where all images are of one class."""
        if self.modulation is None:
            return
        self.modulation.set(class_embedding)
        gamma = self.modulation.gamma[:, 0]
        self.gamma = None if one_class else gamma
        self.matrix_out.copy_(self.unmodulated_out * gamma[0] if one_class else self.unmodulated_out)

    def begin_row(self, activated_u: Tensor) -> None:
        """All that is known before the row begins; activated_u is concat_elu of the u stream's row, (N, W, 2F)."""
        from_above = convolve_row(self.inputs.above, self.above_in, self.bias_in)
        self.rest_in = (from_above + activated_u @ self.matrix_u).unbind(1)
        from_above = convolve_row(self.hidden.above, self.above_out, self.bias_out)
        self.rest_out = (from_above if self.modulation is None else self.modulation(from_above)).unbind(1)

    def __call__(self, column: int, x: Tensor, activated_skip: Tensor | None = None) -> Tensor:
        """x (N, F), written to `inputs` already, and concat_elu of the long skip (N, 2F) -> (N, F)."""
        h = torch.addmm(self.rest_in[column], self.inputs.windows[column], self.matrix_in, out=self.h)
        if self.matrix_skip is not None:
            assert activated_skip is not None
            h.addmm_(activated_skip, self.matrix_skip)
        self.hidden.write(column, h)
        if self.gamma is None:
            h = torch.addmm(self.rest_out[column], self.hidden.windows[column], self.matrix_out, out=self.product)
        else:
            product = torch.mm(self.hidden.windows[column], self.matrix_out, out=self.product)
            h = torch.addcmul(self.rest_out[column], self.gamma, product, out=self.product)
        return x + F.glu(h)
