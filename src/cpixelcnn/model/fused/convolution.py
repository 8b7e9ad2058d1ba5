"""Convolutions of an input that was padded before, and their gradients.

With x the padded input and g the gradient of the output y[i, j] = sum_{k, l} w[k, l] x[i + k, j + l], the gradients are

    dx[i, j] = sum_{k, l} w[k, l]^T g[i - k, j - l]         a convolution of g, padded, with the flipped weight,
    dw[k, l] = sum_{i, j} g[i, j] x[i + k, j + l]^T         a matrix product for each tap (k, l).

On a CPU in full precision they are computed just so: with AVX2 both are faster than the library's own gradients, with
AVX-512 they are as fast (`benchmarks/convolution.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = tuple[int, int, int, int]  # left, right, top, bottom
NO_PADDING: Padding = (0, 0, 0, 0)


def padded(x: Tensor, padding: Padding, factor: Tensor | None = None) -> Tensor:
    """x (N, C, H, W), times `factor` (of a shape that broadcasts) where there is one, with zeros around it.

    Autograd does not see it: it is for use within an autograd function.
    """
    n, channels, height, width = x.shape
    left, right, top, bottom = padding
    size = (n, channels, top + height + bottom, left + width + right)
    result = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout(x))
    for axis, before, length, after in ((2, top, height, bottom), (3, left, width, right)):
        if before:
            result.narrow(axis, 0, before).zero_()
        if after:
            result.narrow(axis, before + length, after).zero_()
    inside = result[:, :, top : top + height, left : left + width]
    if factor is None:
        inside.copy_(x)
    else:
        torch.mul(x, factor, out=inside)
    return result


def without_padding(x: Tensor, padding: Padding) -> Tensor:
    """The inside of x, a view of it."""
    left, right, top, bottom = padding
    return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]


def layout(x: Tensor) -> torch.memory_format:
    """How the elements of x (N, C, H, W) lie in memory."""
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format


def convolution_gradients(
    gradient: Tensor, inputs: Tensor, weight: Tensor, padding: Padding, factor: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gradients of the input without its padding and of the weight; the convolution has stride 1.

    Args:
        gradient: of the output, (N, F, H, W), but for `factor`.
        inputs: the padded input, (N, C, H + rows - 1, W + columns - 1).
        weight: (F, C, rows, columns).
        padding: the zeros in `inputs`, rows - 1 of them above and below, columns - 1 left and right.
        factor: what the gradient is to be multiplied by, (N, F, 1, 1), or None.
    """
    if gradient.device.type == "cpu" and gradient.dtype in (torch.float32, torch.float64):
        return _gradients_by_products(gradient, inputs, weight, padding, factor)
    gradient = gradient if factor is None else gradient * factor
    dx, dweight, _ = torch.ops.aten.convolution_backward(
        gradient, inputs, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, False]
    )
    return without_padding(dx, padding), dweight


def _gradients_by_products(
    gradient: Tensor, inputs: Tensor, weight: Tensor, padding: Padding, factor: Tensor | None
) -> tuple[Tensor, Tensor]:
    n, nr_outputs, height, width = gradient.shape
    nr_inputs, (rows, columns) = weight.shape[1], weight.shape[2:]
    left, right, top, bottom = padding
    # The outputs that saw an input lie below it and to the right: the padding is the mirror image of the input's.
    g = gradient.contiguous(memory_format=torch.channels_last)
    if factor is not None or padding != NO_PADDING:
        g = padded(g, (right, left, bottom, top), factor)
    flipped = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    dx = F.conv2d(g, flipped)

    # Both grids are equally wide, so a tap is an offset between two lists of pixels. Where it wraps around from the end
    # of a row to the next one, it meets a zero of g.
    pitch = width + columns - 1
    first, length = bottom * pitch + right, (height - 1) * pitch + width
    g_pixels = g.permute(0, 2, 3, 1).flatten(1, 2)[:, first : first + length].transpose(1, 2)
    x_pixels = inputs.permute(0, 2, 3, 1).flatten(1, 2)
    dweight = weight.new_empty(nr_outputs, rows, columns, nr_inputs)
    of_each_image = weight.new_empty(n, nr_outputs, nr_inputs)
    for row in range(rows):
        for column in range(columns):
            offset = row * pitch + column
            torch.bmm(g_pixels, x_pixels[:, offset : offset + length], out=of_each_image)
            torch.sum(of_each_image, 0, out=dweight[:, row, column])
    return dx, dweight.permute(0, 3, 1, 2)
