"""A feature network of six dimensions that costs nothing, and images for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.fid.features import FeatureNetwork

DIMS = 6


class Toy(nn.Module):
    """Six features of an image of any size; counts the images that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.randn(DIMS, 3, 3, 3, generator=torch.Generator().manual_seed(0)))
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return nn.functional.conv2d(images, self.filters).square().mean(dim=(2, 3))


@pytest.fixture
def toy() -> FeatureNetwork:
    """`toy.module.seen` is the number of images that it has seen."""
    return FeatureNetwork("toy", DIMS, "as they are", "random weights", "digest", is_inception=True, module=Toy())


@pytest.fixture(scope="session")
def image_set() -> Callable[..., ImageSet]:
    """`image_set(count, seed, split="test", size=8, channels=3)`: noise of two classes, sorted by class."""

    def make(count: int, seed: int, split: str = "test", size: int = 8, channels: int = 3) -> ImageSet:
        generator = torch.Generator().manual_seed(seed)
        contrast = torch.rand(count, channels, 1, 1, generator=generator)
        noise = torch.rand(count, channels, size, size, generator=generator)
        labels = torch.arange(count) * 2 // max(count, 1)  # the second class begins half way
        return ImageSet((255 * contrast * noise).byte(), labels, ("a", "b"), "toys", split)

    return make
