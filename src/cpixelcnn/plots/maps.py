"""Maps over an image: where its bits are spent, and where the evidence between two classes lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.plots.figures import as_shown, axes_at, blank_figure, new_figure, shortened, without_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLOCK = 4  # pixels: single ones scatter around what an area of the image tells
_HEIGHT, _PANEL, _ONE_PANEL = 330, 290, 460  # pixels
_CHANNELS = ("red", "green", "blue")


def draw_bits_map(bits: Tensor, *, title: str = "") -> Figure:
    """Bits/dim at every pixel: of all channels together, and of each by itself, on one scale.

    Args:
        bits: mean code length of every value, (C, H, W), as of `BitsMap`.
        title: what stands above, such as the model, the data and the number of images.
    """
    panels = channel_panels(bits)
    width = _PANEL * len(panels) if len(panels) > 1 else _ONE_PANEL
    figure, axes = new_figure(width, _HEIGHT, len(panels))
    low, high = bits_limits(torch.stack([panel for _, panel in panels]))
    for each, (name, panel) in zip(axes, panels, strict=True):
        drawn = without_axes(each).imshow(panel.cpu().numpy(), cmap="viridis", vmin=low, vmax=high)
        each.set_title(f"{name}: {float(panel.mean()):.3f}".removeprefix(": "))
    figure.colorbar(drawn, ax=axes, label="bits per dimension", extend="max", shrink=0.85, aspect=16)
    if title:
        figure.suptitle(shortened(title, 110 if len(panels) > 1 else 44))
    return figure


def channel_panels(bits: Tensor) -> list[tuple[str, Tensor]]:
    """The maps (H, W) that bits (C, H, W) are shown by, with their names: all channels together and each by itself."""
    if len(bits) == 1:
        return [("", bits[0])]
    return [("all channels", bits.mean(dim=0)), *zip(_CHANNELS, bits, strict=True)]


def draw_evidence(image: Tensor, evidence: Tensor, *, first: str, second: str, title: str = "") -> Figure:
    """An image, and beside it where the evidence for one class against another lies, by pixels and by blocks of them.

    Args:
        image: uint8 (C, H, W).
        evidence: log-likelihood ratio in nats at every pixel, (H, W), as of `evidence_map`.
        first: the class that positive numbers speak for (red).
        second: the class that negative numbers speak for (blue).
        title: what stands above.
    """
    figure = blank_figure(1080, 380)  # no layout to be found, since there may be thousands of these pictures
    first, second = shortened(first, 24), shortened(second, 24)
    shown = without_axes(axes_at(figure, (12, 20, 300, 300)))
    shown.imshow(as_shown(image))
    shown.set_title("image", fontsize=11)
    for left, size in ((336, 1), (712, BLOCK)):
        blocks = block_sums(evidence, size)
        highest = float(blocks.abs().max()) or 1.0
        axes = without_axes(axes_at(figure, (left, 20, 300, 300)))
        drawn = axes.imshow(blocks.numpy(), cmap="RdBu_r", vmin=-highest, vmax=highest)
        axes.spines[:].set(visible=True, color="#c9cdd2")
        axes.set_title("evidence, pixel by pixel" if size == 1 else f"summed over {size} x {size} pixels", fontsize=11)
        figure.colorbar(drawn, cax=axes_at(figure, (left + 308, 20, 12, 300)))
    total = float(evidence.sum())
    told = f"{total:+.1f} nats for {first} (red) against {second} (blue)"
    figure.text(0.5, 0.93, f"{shortened(title, 70)}: {told}" if title else told, ha="center", fontsize=12)
    return figure


def bits_pixels(bits: Tensor, low: float, high: float) -> NDArray[np.uint8]:
    """A map of bits (H, W) in the colours of `draw_bits_map`, a pixel of the picture for each, uint8 (H, W, 3)."""
    return _coloured((bits - low) / max(high - low, 1e-12), "viridis")


def evidence_pixels(evidence: Tensor, size: int = 1) -> NDArray[np.uint8]:
    """Evidence (H, W), summed over blocks of size x size pixels, in the colours of `draw_evidence`, uint8 (h, w, 3)."""
    blocks = block_sums(evidence, size)
    return _coloured(blocks / (2 * float(blocks.abs().max()) or 1.0) + 0.5, "RdBu_r")


def bits_limits(bits: Tensor) -> tuple[float, float]:
    """The scale of a map of bits (C, H, W). The first pixels, of which nothing is known, would spoil it for others."""
    low, high = torch.quantile(bits.double(), torch.tensor([0, 0.99], dtype=torch.float64)).tolist()
    return low, high


def _coloured(values: Tensor, colours: str) -> NDArray[np.uint8]:
    """Numbers of 0 to 1, (H, W), in colours."""
    from matplotlib import colormaps

    return np.ascontiguousarray(colormaps[colours](values.clamp(0, 1).numpy(), bytes=True)[:, :, :3])


def block_sums(values: Tensor, size: int) -> Tensor:
    """Sums over blocks of size x size of values (H, W); those at the right and lower end are smaller where need be."""
    height, width = values.shape
    padded = F.pad(values, (0, -width % size, 0, -height % size))
    return padded.view(padded.shape[0] // size, size, padded.shape[1] // size, size).sum(dim=(1, 3))
