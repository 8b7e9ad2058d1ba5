"""Curves over checkpoints: a panel for what there is, with its best value and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from cpixelcnn.plots.checkpoint_curves import draw_checkpoint_curves
from cpixelcnn.plots.figures import pixels
from cpixelcnn.runs.kept_checkpoints import CheckpointScores


def scores(distance_name: str | None = "FID") -> list[CheckpointScores]:
    rows = [(1, 0.5, 3.5, 60.0), (2, 0.75, 3.3, 40.0), (3, 0.7, 3.2, 45.0)]
    return [
        CheckpointScores(e, 5 * e, 80 * e, 20, a, a - 0.1, a + 0.1, a, 1.0, b, b, 0.02, d, distance_name)
        for e, a, b, d in rows
    ]


def test_panels_name_their_best_epoch() -> None:
    figure = draw_checkpoint_curves(scores(), title="first", nr_classes=4)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Accuracy: highest 75.0 %, epoch 2", "Bits/dim: lowest 3.2, epoch 3", "FID: lowest 40, epoch 2"]
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["95 % interval", "guessing"]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((40, 85))
    assert np.ptp(pixels(figure)) > 0


def test_a_distance_that_is_no_fid_is_not_called_one() -> None:
    axes = draw_checkpoint_curves(scores("efficientnet-lite0")).axes[2]
    assert axes.get_title().startswith("Distance: lowest")
    assert axes.get_ylabel() == "distance (efficientnet-lite0; not an FID)"


def test_without_labels_there_are_bits_alone() -> None:
    bare = [CheckpointScores(e, e, e, 20, None, None, None, None, None, None, 3.0, 0.1) for e in (1, 2)]
    figure = draw_checkpoint_curves(bare)
    assert [axes.get_ylabel() for axes in figure.axes] == ["bits per dimension"]
