"""Scores of predicted classes against values worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor

from cpixelcnn.errors import DataError
from cpixelcnn.evaluation.scores import (
    accuracy,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    mcnemar,
    posterior_nll,
    score,
    wilson_interval,
)


def log_posteriors(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


# Four images of three classes: two right (classes 0 and 1), two wrong.
ROWS = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.25, 0.5, 0.25]]
LABELS = torch.tensor([0, 1, 1, 2])


def test_score_by_hand() -> None:
    scores = score(log_posteriors(ROWS), LABELS)
    assert scores.n_images == 4
    assert scores.accuracy == 0.5
    assert scores.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert scores.confusion.dtype == torch.int64
    # F1 of class 0: 2/(2+1+0), of class 1: 2/(2+1+1), of class 2: 0/(0+0+1)
    assert scores.f1_macro == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores.nll_posterior == pytest.approx(-(math.log(0.7) + math.log(0.3) + math.log(0.8) + math.log(0.25)) / 4)
    assert scores.accuracy_ci95 == wilson_interval(2, 4)
    # Each image is alone in its bin of width 1/15: gaps 0.3, 0.6, 0.2, 0.5
    assert scores.ece == pytest.approx((0.3 + 0.6 + 0.2 + 0.5) / 4)


def test_accuracy_and_confusion_matrix() -> None:
    labels, predictions = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 1, 1, 0])
    assert accuracy(labels, predictions) == 0.5
    assert confusion_matrix(labels, predictions, 4).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("correct", "total", "expected"),
    [
        (81, 263, (0.2553, 0.3662)),  # these four: Newcombe 1998, table I, method 3
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (5, 10, (0.2366, 0.7634)),
        (10, 10, (0.7225, 1.0)),
        (0, 0, (0.0, 1.0)),
    ],
)
def test_wilson_interval(correct: int, total: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(correct, total) == pytest.approx(expected, abs=5e-5)


@settings(deadline=None)
@given(st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_interval_contains_the_proportion(case: tuple[int, int]) -> None:
    correct, total = case
    lower, upper = wilson_interval(correct, total)
    assert 0 <= lower <= correct / total <= upper <= 1
    assert lower < upper
    reference = binomtest(correct, total).proportion_ci(method="wilson")
    assert (lower, upper) == pytest.approx((reference.low, reference.high), abs=1e-12)
    mirrored = wilson_interval(total - correct, total)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((lower, upper), abs=1e-12)


def test_macro_f1_leaves_out_classes_that_do_not_occur() -> None:
    assert macro_f1(torch.tensor([[3, 0, 0], [0, 2, 0], [0, 0, 0]])) == 1.0
    assert macro_f1(torch.tensor([[3, 0], [2, 0]])) == pytest.approx((6 / 8 + 0) / 2)  # class 1 is never predicted
    assert macro_f1(torch.tensor([[1, 1], [0, 0]])) == pytest.approx((2 / 3 + 0) / 2)  # class 1 is never true
    assert macro_f1(torch.zeros(3, 3, dtype=torch.int64)) == 0.0


def test_one_class() -> None:
    scores = score(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
    assert (scores.accuracy, scores.f1_macro, scores.nll_posterior, scores.ece) == (1.0, 1.0, 0.0, 0.0)
    assert math.copysign(1, posterior_nll(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))) == 1


def test_certain_and_wrong() -> None:
    scores = score(log_posteriors([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([1, 1]))
    assert scores.accuracy == 0.0
    assert scores.nll_posterior is None  # infinite: log p = -inf
    assert posterior_nll(log_posteriors([[1.0, 0.0]]), torch.tensor([1])) == math.inf
    assert scores.ece == 1.0


def test_ece_by_hand() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
    labels = torch.tensor([0, 1, 0, 0])
    # Two bins, up to 0.5 and above: the first holds one image (right, 0.5), the second three (two right, mean 2.45/3)
    assert expected_calibration_error(probabilities, labels, nr_bins=2) == pytest.approx((0.5 + abs(2 - 2.45)) / 4)
    # A confidence that rounding has carried beyond one belongs to the last bin
    assert expected_calibration_error(torch.tensor([[1.0 + 1e-7, 0.0]]), torch.tensor([0])) == 0.0


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 6), st.floats(0.0, 1e4), st.integers(0, 2**31))
def test_scores_are_always_json(nr_images: int, nr_classes: int, sharpness: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(nr_images, nr_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(nr_classes, (nr_images,), generator=generator)
    scores = score(torch.log_softmax(logits, dim=1), labels)
    document = asdict(scores) | {"confusion": scores.confusion.tolist()}
    json.dumps(document, allow_nan=False)
    assert int(scores.confusion.sum()) == nr_images
    assert 0 <= scores.ece <= 1 and 0 <= scores.f1_macro <= 1
    order = torch.randperm(nr_images, generator=generator)
    again = score(torch.log_softmax(logits, dim=1)[order], labels[order])
    assert (again.accuracy, again.f1_macro) == (scores.accuracy, scores.f1_macro)
    assert again.ece == pytest.approx(scores.ece)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        score(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="label -1 is outside the 2 classes"):
        score(torch.zeros(1, 2), torch.tensor([-1]))
    with pytest.raises(DataError, match="label 2 is outside"):
        score(torch.zeros(1, 2), torch.tensor([2]))
    with pytest.raises(DataError, match="image 1 are not numbers"):
        score(torch.tensor([[0.0, 0.0], [math.nan, 0.0]]), torch.tensor([0, 0]))


def paired(only_a: int, only_b: int, both: int = 3, neither: int = 2) -> tuple[Tensor, Tensor]:
    a = [True] * only_a + [False] * only_b + [True] * both + [False] * neither
    b = [False] * only_a + [True] * only_b + [True] * both + [False] * neither
    return torch.tensor(a), torch.tensor(b)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(*paired(0, 0)) == 1.0
    assert mcnemar(*paired(1, 0)) == 1.0
    assert mcnemar(*paired(5, 5)) == 1.0
    assert mcnemar(*paired(0, 6)) == 2 / 64
    assert mcnemar(*paired(2, 8)) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert 0 <= mcnemar(*paired(6000, 0)) < 1e-300


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_binomial_test(only_a: int, only_b: int) -> None:
    a, b = paired(only_a, only_b)
    assert mcnemar(a, b) == mcnemar(b, a)
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-9)


def test_precision_recall_and_f1_against_scikit_learn() -> None:
    from sklearn.metrics import f1_score, precision_score, recall_score

    torch.manual_seed(0)
    log_p = torch.randn(50, 4, dtype=torch.float64).log_softmax(dim=1)
    labels = torch.randint(0, 4, (50,))
    found, predictions = score(log_p, labels), log_p.argmax(dim=1)
    assert found.precision == pytest.approx(precision_score(labels, predictions, average=None))
    assert found.recall == pytest.approx(recall_score(labels, predictions, average=None))
    assert found.f1_macro == pytest.approx(f1_score(labels, predictions, average="macro"))


def test_brier_score_against_its_formula() -> None:
    """Brier 1950: the mean over images of sum_c (p(c | x) - [c is true])^2."""
    torch.manual_seed(0)
    log_p = torch.randn(50, 4, dtype=torch.float64).log_softmax(dim=1)
    labels = torch.randint(0, 4, (50,))
    truth = np.eye(4)[labels.numpy()]
    expected = ((np.exp(log_p.numpy()) - truth) ** 2).sum(axis=1).mean()
    assert score(log_p, labels).brier == pytest.approx(expected)
    assert brier_score(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])) == 1.0
