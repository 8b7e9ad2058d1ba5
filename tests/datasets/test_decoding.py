"""Reading image files: a stated outcome for every mode, and one way to another size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from cpixelcnn.datasets.decoding import fit_images
from cpixelcnn.datasets.reading import read_image, read_images
from cpixelcnn.errors import DataError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def stored(path: Path, channels: int = 3) -> NDArray[np.uint8]:
    """The image as (H, W, C)."""
    return read_image(path, channels=channels, height=None, width=None).permute(1, 2, 0).numpy()


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Modes


def test_rgb_pixels_are_kept_exactly(tmp_path: Path) -> None:
    pixels = noise(5, 7)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", channels=3, height=5, width=7)
    assert image.dtype == torch.uint8 and image.shape == (3, 5, 7) and image.is_contiguous()
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pixels)


def test_grey_is_repeated_over_channels_and_survives_the_way_back(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(stored(tmp_path / "a.png"), np.repeat(pixels[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(stored(tmp_path / "a.png", channels=1)[:, :, 0], pixels)


def test_one_channel_is_the_luma_of_itu_r_601(tmp_path: Path) -> None:
    pixels = noise(16, 16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    luma = np.rint(pixels @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(stored(tmp_path / "a.png", channels=1)[:, :, 0] - luma).max() <= 1


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert stored(tmp_path / "a.png").tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_composited_over_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 51, 255)):
        image.putpixel((x, 0), (0, 0, 0, alpha))
    path = tmp_path / ("a.tif" if mode == "PA" else "a.png")
    if mode == "PA":
        palette = Image.new("PA", (3, 1))
        palette.putpalette([0, 0, 0])
        palette.putalpha(image.getchannel("A"))
        image = palette
    elif mode == "LA":
        image = image.convert("LA")
    try:
        image.save(path)
    except OSError:
        pytest.skip(f"this Pillow writes no {mode} file")
    assert stored(path).tolist() == [[[255] * 3, [204] * 3, [0] * 3]]


def test_palette_and_its_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "transparent.png", transparency=1)
    assert stored(tmp_path / "opaque.png").tolist() == [[list(RED), list(BLUE)]]
    assert stored(tmp_path / "transparent.png").tolist() == [[list(RED), list(WHITE)]]


def test_transparent_colour_of_an_rgb_file(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    image.save(tmp_path / "a.png", transparency=BLUE)
    assert stored(tmp_path / "a.png").tolist() == [[list(RED), list(WHITE)]]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_and_not_saturated(tmp_path: Path, name: str) -> None:
    pixels = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / name)
    assert stored(tmp_path / name)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]


def test_cmyk(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    image.save(tmp_path / "a.tif")
    assert stored(tmp_path / "a.tif")[0, 0].tolist() == np.asarray(image.convert("RGB"))[0, 0].tolist()
    assert stored(tmp_path / "a.tif")[0, 0].tolist() == list(RED)


def test_lab(tmp_path: Path) -> None:
    Image.new("LAB", (4, 4), (255, 128, 128)).save(tmp_path / "a.tif")
    assert stored(tmp_path / "a.tif")[0, 0].min() > 250


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((2, 3, 3), dtype=np.uint8)
    upright[0, 0], upright[0, 2], upright[1, 0] = RED, GREEN, BLUE
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undo(upright))).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(stored(tmp_path / "a.png"), upright)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_the_first_of_several_pictures(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert np.abs(stored(tmp_path / name)[0, 0].astype(int) - RED).max() <= 3  # WebP is lossy


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), GREEN).save(tmp_path / "a.jpg", format="PNG")
    assert stored(tmp_path / "a.jpg")[0, 0].tolist() == list(GREEN)


# Sizes


def test_one_pixel_is_enlarged(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", channels=3, height=32, width=28)
    assert image.shape == (3, 32, 28) and image.amin((1, 2)).tolist() == image.amax((1, 2)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (33, 31), (2, 2)])
def test_any_shape_fits(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, BLUE).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", channels=3, height=20, width=36)
    assert image.shape == (3, 20, 36) and image[:, 0, 0].tolist() == list(BLUE)


def test_the_centre_is_kept(tmp_path: Path) -> None:
    pixels = np.zeros((8, 24, 3), dtype=np.uint8)
    pixels[:, :8], pixels[:, 8:16], pixels[:, 16:] = RED, GREEN, BLUE
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", channels=3, height=8, width=8)[:, 4, 4].numpy() == GREEN).all()
    image = read_image(tmp_path / "a.png", channels=3, height=4, width=4)
    assert image[1].min() > 200  # of the neighbours, only what the filter sees across the edge


def test_shrinking_is_antialiased_and_rounded_to_eight_bits(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", channels=1, height=16, width=16)
    assert image.dtype == torch.uint8 and int(image.min()) >= 120 and int(image.max()) <= 135


def test_the_filter_is_pinned(tmp_path: Path) -> None:
    """Halving, the triangle weighs four pixels 1:3:3:1, so that a step between two new pixels is seen by both."""
    pixels = np.array([[0, 0, 0, 0, 255, 255, 255, 255]], dtype=np.uint8).repeat(8, axis=0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    row = read_image(tmp_path / "a.png", channels=1, height=4, width=4)[0, 0]
    assert row.tolist() == [0, 32, 223, 255]


def test_tensors_are_fitted_as_files_are(tmp_path: Path) -> None:
    pixels = noise(20, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    from_file = read_image(tmp_path / "a.png", channels=3, height=8, width=8)
    assert torch.equal(fit_images(tensor, height=8, width=8)[0], from_file)
    assert fit_images(tensor[:, :1], height=8, width=8).shape == (1, 1, 8, 8)
    assert fit_images(tensor, height=20, width=30) is tensor
    assert fit_images(tensor[:0], height=8, width=8).shape == (0, 3, 8, 8)


def test_stored_sizes_must_agree(tmp_path: Path) -> None:
    for name, width in (("a.png", 4), ("b.png", 6)):
        Image.new("RGB", (width, 4)).save(tmp_path / name)
    with pytest.raises(DataError, match=r"b\.png has 6x4 .*a\.png has 4x4.*`image_size`"):
        read_images([tmp_path / "a.png", tmp_path / "b.png"], channels=3, height=None, width=None)


def test_odd_metadata_warns_nobody(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), RED).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xffgarbage")
    assert abs(int(stored(tmp_path / "a.jpg")[0, 0, 0]) - 255) < 3  # a warning would be an error here
