"""The mixture parameters of one pixel after another, each computed once, from cached activations.

Ancestral sampling visits the pixels in raster order. When pixel (i, j) is due, every activation above and to the left
of it is known, and none of them will ever change. So the *u* stream, which sees the rows above, is computed a whole
row at a time; the *ul* stream a pixel at a time, from what is cached; the smaller levels when a row and column of
theirs begins. All pixels together cost the arithmetic of one forward pass of the network, and 1.5 to 4 times its time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cpixelcnn.model.network import PixelCNN
from cpixelcnn.sampling.incremental.activations import convolve_row
from cpixelcnn.sampling.incremental.blocks import as_matrix, folded
from cpixelcnn.sampling.incremental.buffers import BufferPool
from cpixelcnn.sampling.incremental.level import Level


class IncrementalPredictor:
    """Mixture parameters of n images, pixel by pixel: `begin`, then for each row `load_row` and `begin_row`, then for
    each column `parameters` and `place`.

    What the operations of a row read and leave behind is at fixed addresses, and which operations they are depends on
    `row % 4` and on `variant` alone, so that rows can be recorded as CUDA graphs (`sampling/ancestral.py`).

    Args:
        model: the model; its weights are folded here, and later changes to them are not seen.
        n: images computed together.
        dtype: precision of weights and activations, but for both ends of the network, which are float32 at least, as in
            `PixelCNN.forward`.
    """

    recordable = True

    def __init__(self, model: PixelCNN, n: int, dtype: torch.dtype = torch.float32) -> None:
        config = model.config
        self.model, self.n = model, n
        self.height, self.width, self.channels = config.image_height, config.image_width, config.image_channels
        self.buffers = buffers = BufferPool(model.device, dtype)
        ends = buffers.in_full_precision()
        self.u_weight, self.u_bias = folded(model.u_in, ends)
        self.above_weight, above_bias = folded(model.ul_in_above, ends)
        left_weight, self.left_bias = folded(model.ul_in_left, ends)
        self.above_bias = above_bias
        self.left_above, self.left_matrix = left_weight[:, :, :1].contiguous(), as_matrix(left_weight)
        self.level = Level(model, 0, n, self.width, buffers)
        out_weight, self.out_bias = folded(model.out, ends)
        self.out_matrix = out_weight[:, :, 0, 0].T.contiguous()

        # The network's input (image and channel of ones) in rows i - 2, i - 1 and i, between columns of padding.
        padded_width = self.width + -self.width % 4
        self.x = ends.zeros(n, 3, padded_width + 2, self.channels + 1)
        self.pixels = self.x[:, 2, 1:-1].unbind(1)
        self.fusion = ends.zeros(n, self.height, self.width, self.channels)
        self.fusion_row = ends.zeros(n, self.width, self.channels)
        self.not_first_row = ends.zeros(1)
        self.one_class = True
        self.ul_rest: tuple[Tensor, ...] = ()
        self.row = 0

    @property
    def variant(self) -> int:
        """Whether the class modulation is folded into the weights, which it is where all images are of one class."""
        return int(self.one_class)

    def begin(self, labels: Tensor | None) -> None:
        """Forget everything and prepare for images of these classes, (n,) int64; None for an unconditional model."""
        self.buffers.reset()
        if labels is None:
            return
        self.one_class = bool((labels == labels[0]).all())
        if self.model.class_embedding is not None:
            class_embedding = self.model.class_embedding(labels)
            self.level.modulate(class_embedding, one_class=self.one_class)
        if self.model.early_fusion is not None:
            # What fusion adds to an image of zeros is what it adds to any image.
            zeros = torch.zeros(self.n, self.channels, self.height, self.width, device=labels.device)
            self.fusion.copy_(self.model.early_fusion(zeros, labels).permute(0, 2, 3, 1))

    def load_row(self, row: int) -> None:
        """Tell which row comes next, before anything else of that row (and outside of what is recorded)."""
        self.row = row
        self.fusion_row.copy_(self.fusion[:, row])

    def begin_row(self) -> None:
        """Compute what is known before the first pixel of the row."""
        x = self.x
        x[:, 0].copy_(x[:, 1])
        x[:, 1].copy_(x[:, 2])
        x[:, 2, 1 : self.width + 1, -1] = 1.0
        last_two = x[:, :2].permute(0, 3, 1, 2)
        last = last_two[:, :, 1:]
        # Shifting down by a row leaves zeros in the first one, without the bias.
        u = convolve_row(last_two, self.u_weight) + self.not_first_row * self.u_bias
        self.level.begin_row(self.row, u.to(self.buffers.dtype))
        from_above = convolve_row(last, self.above_weight) + self.not_first_row * self.above_bias
        # Shifting right by a column leaves zeros in the first one, without the bias.
        from_above[:, 1:] += convolve_row(last[..., 1:-2], self.left_above, self.left_bias)
        self.ul_rest = from_above.unbind(1)
        self.not_first_row.fill_(1.0)

    def parameters(self, column: int) -> Tensor:
        """Mixture parameters (n, 10K or 3K) of the pixel at a column of the current row, float32."""
        ul = self.ul_rest[column]
        if column > 0:
            ul = torch.addmm(ul, self.pixels[column - 1], self.left_matrix)
        ul = self.level.pixel(self.row, column, ul.to(self.buffers.dtype))
        return torch.addmm(self.out_bias, F.elu(ul.to(self.out_bias.dtype)), self.out_matrix).float()

    def place(self, column: int, x: Tensor) -> None:
        """Set the pixel at a column of the current row: x (n, C) in [-1, 1]."""
        torch.add(self.fusion_row[:, column], x, out=self.pixels[column][:, :-1])
