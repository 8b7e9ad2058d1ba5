"""Maps over an image: what the pictures show, whatever the numbers and names are."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from cpixelcnn.plots.figures import pixels, shortened
from cpixelcnn.plots.maps import block_sums, draw_bits_map, draw_evidence


def texts(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes] + [text.get_text() for text in figure.texts]


def test_a_map_of_bits_has_a_panel_for_every_channel() -> None:
    bits = torch.arange(3 * 4 * 6, dtype=torch.float64).view(3, 4, 6) / 10
    figure = draw_bits_map(bits, title="a model: its data, 5 images")
    titles = texts(figure)
    assert titles[:4] == ["all channels: 3.550", "red: 1.150", "green: 3.550", "blue: 5.950"]
    assert figure._suptitle.get_text() == "a model: its data, 5 images"
    shown = [axes.images[0] for axes in figure.axes[:4]]
    assert torch.equal(torch.tensor(shown[2].get_array().data), bits[1])
    assert len({image.get_clim() for image in shown}) == 1
    assert figure.axes[-1].get_ylabel() == "bits per dimension"
    assert pixels(figure).shape == (330, 1160, 3)


def test_grey_images_have_one_panel() -> None:
    figure = draw_bits_map(torch.full((1, 5, 5), 2.5))
    assert texts(figure)[0] == "2.500"
    assert len(figure.axes) == 2
    assert pixels(figure).std() > 0


@pytest.mark.parametrize("size", [(4, 4), (5, 9), (1, 1), (28, 27)])
@pytest.mark.parametrize("channels", [1, 3])
def test_evidence_is_shown_on_symmetric_scales(size: tuple[int, int], channels: int) -> None:
    evidence = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    image = torch.zeros(channels, *size, dtype=torch.uint8)
    figure = draw_evidence(image, evidence, first="cat", second="dog", title="a.png")
    picture, single, blocks = (axes.images[0] for axes in figure.axes if axes.images)
    assert picture.get_array().shape == (*size, 3)
    for shown in (single, blocks):
        low, high = shown.get_clim()
        assert low == -high
        assert abs(shown.get_array()).max() == pytest.approx(high)
        assert shown.get_array().sum() == pytest.approx(float(evidence.sum()))
    assert f"a.png: {float(evidence.sum()):+.1f} nats for cat (red) against dog (blue)" in texts(figure)
    assert pixels(figure).shape == (380, 1080, 3)


def test_no_evidence_is_drawn_as_well() -> None:
    figure = draw_evidence(torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(4, 4), first="a", second="b")
    assert figure.axes[1].images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize("name", ["$\\frac$", "熊猫", "x" * 500, "a\nb", "100 %$", "<b>&amp;"])
def test_names_are_drawn_as_they_are(name: str) -> None:
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    pixels(draw_evidence(image, torch.ones(4, 4), first=name, second=name, title=name))
    pixels(draw_bits_map(torch.ones(3, 4, 4), title=name))


def test_block_sums() -> None:
    values = torch.ones(5, 9)
    assert block_sums(values, 4).tolist() == [[16, 16, 4], [4, 4, 1]]
    assert torch.equal(block_sums(values, 1), values)


def test_long_names_lose_their_middle() -> None:
    assert shortened("abcdefghij", 7) == "ab...ij"
    assert shortened(" a  b\n c ", 7) == "a b c"
    assert len(shortened("x" * 99, 20)) == 20
