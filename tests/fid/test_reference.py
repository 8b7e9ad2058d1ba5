"""References without their images: files of features, and those that come with the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import DataError
from cpixelcnn.fid.extractor import Extractor
from cpixelcnn.fid.feature_sets import as_many, save_features
from cpixelcnn.fid.features import FeatureNetwork, choose_features
from cpixelcnn.fid.frechet import GaussianStatistics, frechet_distance
from cpixelcnn.fid.reference import shipped_features
from cpixelcnn.fid.score import frechet_score

MakeSet = Callable[..., ImageSet]


def test_features_take_the_place_of_images(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    samples, reference, train = image_set(20, 1), image_set(30, 2), image_set(60, 3, "train")
    expected = frechet_score(samples, reference, toy, floor_images=train, per_class=True, cache_dir=tmp_path / "cache")
    extractor = Extractor(toy, cache_dir=tmp_path / "cache")
    real, others = (extractor.features(images) for images in (reference, train))
    path = tmp_path / "reference.npz"
    save_features(path, real, toy)
    for source in (real, path):
        score = frechet_score(samples, source, toy, floor_images=others, per_class=True, cache_dir=tmp_path / "cache")
        assert score.value == pytest.approx(expected.value)
        assert replace(score, value=0, floor=0, kernel_floor=None, per_class=()) == replace(
            expected, value=0, floor=0, kernel_floor=None, per_class=()
        )
        assert score.floor == pytest.approx(expected.floor)
        assert [of.value for of in score.per_class] == pytest.approx([of.value for of in expected.per_class])


def test_features_of_another_network_are_refused(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    """Two networks may have as many dimensions, so that the number alone would let a wrong value through."""
    path = tmp_path / "reference.npz"
    save_features(path, Extractor(toy).features(image_set(30, 2)), toy)
    with pytest.raises(DataError, match=r"reference\.npz is not a sound file of features \(they are of other weights"):
        frechet_score(image_set(20, 1), path, replace(toy, weights_digest="another"), cache_dir=tmp_path)


@pytest.fixture(scope="module")
def efficientnet() -> FeatureNetwork:
    return choose_features("efficientnet-lite0")


def test_what_comes_with_the_package(efficientnet: FeatureNetwork) -> None:
    shipped = shipped_features(DataConfig(dataset="cpen455", image_size=32), "test", efficientnet)
    assert shipped is not None
    real, floor = shipped
    assert str(real) == "519 images of cpen455 test (32x32 RGB)"
    assert str(floor) == "200 images of cpen455 train (32x32 RGB)"
    assert floor.class_counts == (50, 50, 50, 50)
    some = as_many(floor, torch.arange(4).repeat(25), floor.classes)
    assert some.class_counts == (25, 25, 25, 25)
    distance = frechet_distance(*(GaussianStatistics.from_features(side.features) for side in (some, real)))
    assert distance == pytest.approx(109.33, abs=0.01)


@pytest.mark.parametrize(
    ("dataset", "size", "split"), [("cpen455", 64, "test"), ("cpen455", 32, "train"), ("folder", 32, "test")]
)
def test_what_does_not(efficientnet: FeatureNetwork, dataset: str, size: int, split: str) -> None:
    assert shipped_features(DataConfig(dataset=dataset, image_size=size), split, efficientnet) is None
    other = replace(efficientnet, name="efficientnet-lite1")
    assert shipped_features(DataConfig(dataset="cpen455", image_size=32), "test", other) is None
