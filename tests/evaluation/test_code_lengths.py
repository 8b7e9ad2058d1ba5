"""Code lengths that a model's own is held to: files, rearrangements of the image, a local model."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cpixelcnn.errors import ConfigError
from cpixelcnn.evaluation.code_lengths import code_lengths, local_bits, shaken, stirred, tiles
from cpixelcnn.evaluation.unfamiliar import image_bits, png_bits, webp_bits
from cpixelcnn.model.network import PixelCNN


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model(image_height=8, image_width=8)


@pytest.fixture(scope="module")
def images(model: PixelCNN, make_images: Callable[..., Tensor]) -> Tensor:
    return make_images(model, 3)


def values(images: Tensor) -> list[int]:
    return sorted(images.flatten().tolist())


def test_rearrangements_are_bijections_of_the_image(images: Tensor) -> None:
    """Nothing is lost: undone, each is the image again; all differ from it and from each other."""
    turned = stirred(images)
    assert len(turned) == 7
    for k in (1, 2, 3):
        assert torch.equal(torch.rot90(turned[k - 1], -k, (2, 3)), images)
    assert torch.equal(255 - turned[3], images)
    for version in shaken(images):
        assert values(version) == values(images)
    everything = [images, *turned, *shaken(images)]
    assert len({tuple(each.flatten().tolist()) for each in everything}) == 11


def test_shaking_moves_every_quarter(images: Tensor) -> None:
    quarter = images[:, :, :4, :4]
    across, down, both = shaken(images)
    assert torch.equal(across[:, :, :4, 4:], quarter)
    assert torch.equal(down[:, :, 4:, :4], quarter)
    assert torch.equal(both[:, :, 4:, 4:], quarter)


def test_images_that_are_not_square_are_turned_by_halves() -> None:
    wide = torch.arange(24, dtype=torch.uint8).reshape(1, 1, 4, 6)
    assert [tuple(each.shape) for each in stirred(wide)] == [(1, 1, 4, 6)] * 3


def test_code_lengths_of_rearrangements_are_means(model: PixelCNN, images: Tensor) -> None:
    found = code_lengths(model, images, ["stirring", "shaking", "png"], batch_size=2)
    for name, versions in (("stirring", stirred(images)), ("shaking", shaken(images))):
        expected = np.mean([image_bits(model, version) for version in versions], axis=0)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)
    np.testing.assert_array_equal(found["png"], png_bits(images))


def test_tiles_are_cut_row_by_row() -> None:
    image = torch.arange(48, dtype=torch.uint8).reshape(1, 1, 6, 8)
    parts = tiles(image, 3, 4)
    assert parts.shape == (4, 1, 3, 4)
    assert torch.equal(parts[1, 0], image[0, 0, :3, 4:])
    assert torch.equal(parts[2, 0], image[0, 0, 3:, :4])
    with pytest.raises(ConfigError, match="8x6 cannot be divided into tiles of 4x4"):
        tiles(image, 4, 4)


@pytest.mark.parametrize("fusion", [{}, {"early_fusion": "none", "film": "none"}], ids=["conditional", "unconditional"])
def test_a_local_model_codes_each_tile_by_itself(
    fusion: dict[str, str], make_model: Callable[..., PixelCNN], images: Tensor
) -> None:
    """log p(image) is the sum over its tiles, hence bits/dim are the mean; nothing beyond a tile matters."""
    local = make_model(**fusion)
    expected = [image_bits(local, tiles(image[None], 4, 4)).mean() for image in images]
    np.testing.assert_allclose(local_bits(local, images), expected, rtol=1e-6)
    changed = images.clone()
    changed[:, :, :4, :4] = 0
    first, other = (image_bits(local, tiles(each, 4, 4)).reshape(3, 4) for each in (images, changed))
    np.testing.assert_allclose(first[:, 1:], other[:, 1:], rtol=1e-6)


def test_bits_of_an_unconditional_model(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model(early_fusion="none", film="none")
    images = make_images(model, 3)
    with torch.no_grad():
        expected = -model.log_prob(images) / (48 * math.log(2))
    np.testing.assert_allclose(image_bits(model, images), expected.numpy(), rtol=1e-6)


def test_webp_is_lossless_and_measures_complexity() -> None:
    flat = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
    noise = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bits = webp_bits(torch.cat([flat, noise]))
    assert bits[0] < 0.5
    assert bits[1] > 7.9  # no code is shorter for noise
    assert webp_bits(flat[:, :1]).shape == (1,)


def test_what_cannot_be_computed(model: PixelCNN, images: Tensor, make_model: Callable[..., PixelCNN]) -> None:
    with pytest.raises(ConfigError, match=r"'pgn' is not known; .*png"):
        code_lengths(model, images, ["pgn"])
    with pytest.raises(ConfigError, match="needs a local model"):
        code_lengths(model, images, ["local"])
    with pytest.raises(ConfigError, match="differ in colours"):
        local_bits(make_model(image_channels=1), images)
