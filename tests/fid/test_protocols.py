"""Named protocols: what contradicts them, which samples they take, and what keeps a value from being one of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.fid.features import FeatureNetwork
from cpixelcnn.fid.protocols import PROTOCOLS, find_protocol, measured_by, require_equal_sizes, samples_of
from cpixelcnn.fid.score import FrechetScore, frechet_score

MakeSet = Callable[..., ImageSet]
COURSE, STANDARD = PROTOCOLS["course"], PROTOCOLS["standard"]


@pytest.mark.parametrize(
    ("name", "explicit", "message"),
    [
        ("course", {"dims": 2048}, "`protocol` course means `dims` 192, but 2048 is given"),
        ("course", {"features": "efficientnet-lite0"}, "means `features` inception"),
        ("course", {"split": "validation"}, "means `split` test"),
        ("course", {"reference_size": 32}, "means `reference_size` 64"),
        ("standard", {"dims": 192}, "`protocol` standard means `dims` 2048"),
        ("cours", {}, "did you mean 'course'"),
    ],
)
def test_what_contradicts_a_protocol(name: str, explicit: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_protocol(name, **explicit)


def test_what_agrees_with_a_protocol() -> None:
    explicit = {"features": "inception", "dims": 192, "split": "test", "reference_size": 64}
    assert find_protocol("course", **explicit) is COURSE
    assert find_protocol("course", features="auto", dims=None, split=None, reference_size=None) is COURSE
    assert find_protocol("standard", features="inception", split="train", reference_size=16) is STANDARD


def test_the_first_samples_of_each_class_are_taken(image_set: MakeSet) -> None:
    many = image_set(70, 0)
    taken = samples_of(COURSE, many)
    assert taken.class_counts == (25, 25)
    assert torch.equal(taken.images, torch.cat([many.images[:25], many.images[35:60]]))
    exact = image_set(50, 0)
    assert samples_of(COURSE, exact) is exact
    assert samples_of(STANDARD, many) is many


def test_too_few_samples_of_a_class(image_set: MakeSet) -> None:
    with pytest.raises(DataError, match="takes 25 samples of each class, but toys holds 24 of b"):
        samples_of(COURSE, image_set(50, 0)[:49])


def test_samples_of_unknown_classes_are_taken_by_their_number(image_set: MakeSet) -> None:
    unknown = replace(image_set(100, 0), labels=torch.full((100,), -1), classes=())
    assert samples_of(COURSE, unknown) is unknown
    with pytest.raises(DataError, match="99 images of unknown classes, not 100; make them with"):
        samples_of(COURSE, unknown[:99])


def test_both_sides_have_one_size_in_the_standard_protocol(image_set: MakeSet) -> None:
    small, large = image_set(4, 0), image_set(4, 0, size=16)
    require_equal_sizes(STANDARD, small, small)
    require_equal_sizes(COURSE, small, large)
    require_equal_sizes(STANDARD, small, Path("statistics.npz"))
    with pytest.raises(ConfigError, match="samples are 8x8 RGB and reference images 16x16 RGB"):
        require_equal_sizes(STANDARD, small, large)


def test_what_keeps_a_value_from_being_comparable(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    score = frechet_score(image_set(20, 1), image_set(30, 2), toy, cache_dir=tmp_path)
    assert score.measured_by is None

    def told(score: FrechetScore) -> str:
        return "\n".join(score.warnings)

    standard = measured_by(STANDARD, score)
    assert standard.measured_by == "standard"
    assert "takes 10,000 samples or more, and these are 20" in told(standard)
    assert told(measured_by(COURSE, score)) == ""
    assert told(measured_by(STANDARD, replace(score, n_samples=10_000))) == ""
    assert "how the images behind the statistics were prepared" in told(
        measured_by(COURSE, replace(score, reference_size=None))
    )
