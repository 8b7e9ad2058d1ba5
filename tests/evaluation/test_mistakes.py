"""The most confident mistakes: which they are, in which order, and when there are none."""

from __future__ import annotations

import math

import pytest
import torch

from cpixelcnn.evaluation.mistakes import confident_mistakes

LOG_POSTERIORS = torch.tensor(
    [[-90.0, 0, -5], [0, -80, -7], [-1e-3, -7, -9], [-60, -70, 0], [0, -math.inf, -2]]
).double()


def test_the_surest_mistake_comes_first() -> None:
    found = confident_mistakes(LOG_POSTERIORS, torch.tensor([0, 1, 0, 0, 1]), 9)
    assert [each.index for each in found] == [4, 0, 1, 3]
    assert [each.margin for each in found] == [math.inf, 90, 80, 60]
    assert (found[1].label, found[1].prediction) == (0, 1)
    assert found[1].probability == pytest.approx(1)


def test_no_more_than_are_wanted_and_none_without_a_label() -> None:
    labels = torch.tensor([0, -1, 0, 0, -1])
    assert [each.index for each in confident_mistakes(LOG_POSTERIORS, labels, 1)] == [0]
    assert [each.index for each in confident_mistakes(LOG_POSTERIORS, labels, 9)] == [0, 3]


def test_a_classifier_may_make_no_mistakes() -> None:
    assert confident_mistakes(LOG_POSTERIORS, LOG_POSTERIORS.argmax(dim=1), 9) == []
    assert confident_mistakes(LOG_POSTERIORS[:0], torch.empty(0, dtype=torch.int64), 9) == []
