"""Counter-based random numbers: the published generator, evenly spread, and different for every purpose."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.randomness import random_integers, random_words

MASK = 2**64 - 1


def splitmix64(stream: int, counter: int) -> int:
    """The generator in Python's own integers."""
    z = (stream + (counter + 1) * 0x9E3779B97F4A7C15) & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


@given(st.integers(0, 2**62), st.lists(st.integers(0, 2**50), max_size=9))
def test_the_published_generator(stream: int, counters: list[int]) -> None:
    words = random_words(stream, torch.tensor(counters, dtype=torch.int64))
    assert [word & MASK for word in words.tolist()] == [splitmix64(stream, counter) for counter in counters]


def test_a_published_value() -> None:
    assert int(random_words(0, torch.tensor(0))) & MASK == 0xE220A8397B1DCDAF


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_integers_are_equally_likely(count: int) -> None:
    n = 90_000
    drawn = random_integers(3, "anything", torch.arange(n), count)
    counts = torch.bincount(drawn, minlength=count).double()
    assert len(counts) == count
    expected = n / count
    assert float(((counts - expected) ** 2 / expected).sum()) < 30  # chi-squared with at most 8 degrees of freedom


def test_purposes_and_seeds_are_independent() -> None:
    counters = torch.arange(10_000)
    one = random_integers(0, "flip", counters, 2)
    for other in (random_integers(0, "down", counters, 2), random_integers(1, "flip", counters, 2), one.roll(1)):
        assert float((one == other).double().mean()) == pytest.approx(0.5, abs=0.03)
