"""Grids: every image in its place, enlarged without smoothing, with captions that leave the images alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cpixelcnn.plots.grids import completion_page, drawing_stages, grid, readable_scale, side_by_side


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("captions", [(), ("a long caption", "b")])
@pytest.mark.parametrize("headings", [(), ("x", "y", "z")])
def test_every_image_is_in_its_place(channels: int, captions: tuple[str, ...], headings: tuple[str, ...]) -> None:
    images = torch.arange(6, dtype=torch.uint8).mul(40).view(6, 1, 1, 1).expand(6, channels, 5, 4)
    page = grid(images, 3, captions=captions, headings=headings, scale=2)
    height, width, _ = page.shape
    for i in range(6):
        row, column = divmod(i, 3)
        top, left = height - (2 - row) * 12, width - (3 - column) * 10
        assert np.all(page[top : top + 10, left : left + 8] == 40 * i)
    assert (width > 32 + 50) == bool(captions)
    assert (height > 26 + 20) == bool(headings)


def test_captions_are_written_beside_the_rows() -> None:
    images = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    plain, captioned = grid(images, 1, scale=2), grid(images, 1, captions=["panda", "koala"], scale=2)
    left = captioned.shape[1] - plain.shape[1]
    assert captioned[:66, :left].min() < 128 and captioned[66:, :left].min() < 128


def test_small_images_become_large_enough_to_see() -> None:
    assert readable_scale(4, 32) == 6
    assert readable_scale(16, 32) == 1
    assert readable_scale(40, 64) == 1
    assert grid(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), 4).shape[1] > 750

    assert grid(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 1).shape[0] < 250, "nor too large"


@pytest.mark.parametrize("text", ["W" * 200, "two\nlines", "\udcff", "猫", "", "[red]"])
def test_any_text_fits(text: str) -> None:
    """A caption of any length leaves the page narrow, and no letter of it is drawn on the images."""
    images = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    page = grid(images, 1, captions=[text, "b"], headings=[text], scale=2)
    assert page.shape[1] < 350
    assert page[-132:, -66:].min() == 255


def test_the_last_heading_stands_above_all_columns_that_follow() -> None:
    images = torch.full((4, 3, 32, 32), 255, dtype=torch.uint8)
    wide = grid(images, 4, headings=["a", "a heading of several words"], scale=1)
    narrow = grid(images, 4, headings=["a", "a heading of several words", "", ""], scale=1)
    assert (wide[:30] < 128).any(axis=(0, 2)).nonzero()[0].max() > 70
    assert (narrow[:30] < 128).any(axis=(0, 2)).nonzero()[0].max() < 70


def test_a_page_of_completions() -> None:
    originals = torch.full((2, 1, 4, 4), 9, dtype=torch.uint8)
    page = completion_page(originals, torch.full((4, 1, 4, 4), 7, dtype=torch.uint8), 3)
    assert page[:, 0, 3, 0].tolist() == [9, 128, 7, 7] * 2
    assert page[:, 0, 0, 0].tolist() == [9, 9, 7, 7] * 2
    assert bool((originals == 9).all()), "the originals are not written to"


@pytest.mark.parametrize(("from_row", "stages", "rows"), [(0, 4, [2, 3, 5, 6]), (3, 8, [4, 5, 6]), (5, 1, [6])])
def test_stages_of_images_while_they_are_drawn(from_row: int, stages: int, rows: list[int]) -> None:
    page, found = drawing_stages(torch.full((2, 1, 6, 2), 9, dtype=torch.uint8), from_row, stages)
    assert found == rows
    for image in (0, 1):
        for stage, row in enumerate(rows):
            values = page[image * len(rows) + stage, 0, :, 0].tolist()
            assert values == [9] * row + [128] * (6 - row)


def test_panels_side_by_side_have_headings() -> None:
    pictures = [np.full((50, width, 3), 200 + i, np.uint8) for i, width in enumerate((120, 90))]
    page = side_by_side(pictures, ["temperature 1", "guidance 3"])
    assert np.all(page[-50:, :120] == 200)
    assert np.all(page[-50:, -90:] == 201)
    assert page[:-50, :120].min() < 128 and page[:-50, -90:].min() < 128
    assert np.all(page[:, 120:-90] == 255)
