"""What the tests of sampling share: the shipped model's weights at any size, and how to compare two samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cpixelcnn.model.mixture import scale_pixels
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.runs.models import load
from cpixelcnn.sampling.ancestral import Predictor


@pytest.fixture(scope="session")
def trained() -> Callable[[int, int], PixelCNN]:
    """`trained(height, width)`: the shipped model's weights, none of which depends on the size of the image."""
    shipped = load("tiny")

    def make(height: int, width: int) -> PixelCNN:
        model = PixelCNN(replace(shipped.config, image_height=height, image_width=width))
        model.load_state_dict(shipped.state_dict())
        return model.eval()

    return make


@pytest.fixture(scope="session")
def teacher_forced() -> Callable[..., Tensor]:
    """`teacher_forced(predictor, images, labels)`: its parameters (N, P, H, W), each pixel placed after its own."""

    @torch.inference_mode()
    def run(predictor: Predictor, images: Tensor, labels: Tensor | None) -> Tensor:
        x = scale_pixels(images)
        rows = []
        predictor.begin(labels)
        for row in range(x.shape[2]):
            predictor.load_row(row)
            predictor.begin_row()
            pixels = []
            for column in range(x.shape[3]):
                pixels.append(predictor.parameters(column).clone())
                predictor.place(column, x[:, :, row, column])
            rows.append(torch.stack(pixels, dim=2))
        return torch.stack(rows, dim=2)

    return run


@pytest.fixture(scope="session")
def assert_same_but_for_rounding() -> Callable[[Tensor, Tensor], None]:
    """Checks two ways of drawing the same images, uint8 (N, C, H, W).

    Where a number lies next to a rounding boundary, the two may give neighbouring values, and what follows in that
    image differs with them. Nothing else may differ, and that in few images alone.
    """

    def check(images: Tensor, others: Tensor) -> None:
        assert images.shape == others.shape
        different = 0
        for image, other in zip(images.int(), others.int(), strict=True):
            steps = (image - other).abs().amax(dim=0).flatten()  # the pixels in raster order
            if steps.any():
                different += 1
                first = int(steps.nonzero()[0])
                assert int(steps[first]) == 1, f"pixel {first} differs by {int(steps[first])} steps"
        assert different <= max(1, len(images) // 10), f"{different} of {len(images)} images differ"

    return check
