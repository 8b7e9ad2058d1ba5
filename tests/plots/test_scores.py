"""The confusion matrix and the reliability diagram: what they show, and for light and dark pages."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
import torch

from cpixelcnn.evaluation.scores import ReliabilityBin
from cpixelcnn.plots.figures import pixels, svg_documents
from cpixelcnn.plots.grids import captioned_tiles
from cpixelcnn.plots.scores import draw_confusion, draw_reliability

BINS = {
    "before": [ReliabilityBin(3, 0.4, 1 / 3), ReliabilityBin(97, 0.99, 0.8)],
    "after": [ReliabilityBin(100, 0.8, 0.79)],
}


def test_cells_are_coloured_by_the_fraction_of_their_true_class() -> None:
    figure = draw_confusion(torch.tensor([[8, 2], [0, 0]]), ["ant", "bee"], title="a model")
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == [[0.8, 0.2], [0, 0]]
    assert [text.get_text() for text in axes.texts] == ["8", "2", "0", "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ant", "bee"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    pixels(figure)


@pytest.mark.parametrize("nr_classes", [1, 7, 100])
def test_any_number_of_classes_can_be_drawn(nr_classes: int) -> None:
    figure = draw_confusion(torch.eye(nr_classes).long(), [f"$class_{i} of a long name" for i in range(nr_classes)])
    height, width, _ = pixels(figure).shape
    assert max(height, width) < 2000
    assert len(figure.axes[0].texts) == (nr_classes**2 if nr_classes <= 20 else 0)


def test_reliability_has_a_line_for_each_set_of_posteriors() -> None:
    figure = draw_reliability(BINS, title="a model")
    diagonal, before, after = figure.axes[0].lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert before.get_xydata().tolist() == [[0.4, 1 / 3], [0.99, 0.8]]
    assert after.get_label() == "after"
    few, many = figure.axes[0].collections[0].get_sizes()
    assert few < many
    pixels(figure)
    pixels(draw_reliability({"without images": []}))


def test_svg_documents_differ_in_colours_alone_and_are_the_same_again() -> None:
    light, dark = svg_documents(draw_reliability(BINS, title="<a> & $b$"))
    assert (light, dark) == svg_documents(draw_reliability(BINS, title="<a> & $b$"))
    assert "#22262b" in light
    assert "#22262b" not in dark
    assert "#006aaa" in light
    assert "#006aaa" not in dark
    assert len(light) == len(dark)
    for document in (light, dark):
        assert ElementTree.fromstring(document).tag.endswith("svg")
        assert "<dc:date>" not in document


def test_tiles_have_their_captions_below_them() -> None:
    images = torch.full((5, 1, 8, 8), 90, dtype=torch.uint8)
    page = captioned_tiles(images, [("is an ant", "taken for a " + 40 * "bee")] * 5, columns=3, scale=10)
    assert page.shape == (10 + 2 * (80 + 2 * 20 + 10), 10 + 3 * 90, 3)
    assert (page[10:90, 10:90] == 90).all()
    assert (page[92:130, 10:90] < 128).any(), "text"
    assert (page[150:, 200:] == 255).all(), "no sixth image"
