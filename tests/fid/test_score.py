"""The whole way from images to a distance: what is told beside it, and the cache of reference statistics."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import DataError
from cpixelcnn.fid.features import FeatureNetwork, choose_features, extract_features
from cpixelcnn.fid.frechet import GaussianStatistics, frechet_distance, save_statistics
from cpixelcnn.fid.score import default_cache_dir, frechet_score

DIMS = 6


class Toy(nn.Module):
    """Six features of an image of any size; counts the images that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.randn(DIMS, 3, 3, 3, generator=torch.Generator().manual_seed(0)))
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return nn.functional.conv2d(images, self.filters).square().mean(dim=(2, 3))


@pytest.fixture
def toy() -> FeatureNetwork:
    return FeatureNetwork("toy", DIMS, "as they are", "random weights", "digest", is_inception=True, module=Toy())


def seen(network: FeatureNetwork) -> int:
    assert isinstance(network.module, Toy)
    return network.module.seen


def image_set(count: int, seed: int, split: str = "test", size: int = 8, channels: int = 3) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    contrast = torch.rand(count, channels, 1, 1, generator=generator)
    noise = torch.rand(count, channels, size, size, generator=generator)
    labels = torch.arange(count) * 2 // max(count, 1)  # sorted: the second class begins half way
    return ImageSet((255 * contrast * noise).byte(), labels, ("a", "b"), "toys", split)


def test_score(toy: FeatureNetwork, tmp_path: Path) -> None:
    samples, reference, train = image_set(20, 1, "samples"), image_set(30, 2), image_set(60, 3, "train")
    score = frechet_score(samples, reference, toy, floor_images=train, cache_dir=tmp_path)

    def distance(images: Tensor) -> float:
        fitted = [GaussianStatistics.from_features(extract_features(toy, x)) for x in (images, reference.images)]
        return frechet_distance(*fitted)

    assert score.value == pytest.approx(distance(samples.images))
    assert score.floor == pytest.approx(
        distance(torch.cat([train.images[:10], train.images[30:40]]))
    )  # even over classes
    assert (score.features, score.dims, score.n_samples, score.n_reference) == ("toy", DIMS, 20, 30)
    assert score.is_fid and score.warnings == ()
    for fact in (
        "20 samples",
        "8x8 RGB",
        "30 images of toys test",
        "6 features",
        "random weights",
        "20 images of toys train",
    ):
        assert fact in score.protocol
    json.dumps(asdict(score), allow_nan=False)


def test_a_set_against_itself_is_zero_whatever_the_order(toy: FeatureNetwork, tmp_path: Path) -> None:
    images = image_set(25, 4)
    shuffled = images.select(torch.randperm(25))
    other = frechet_score(image_set(25, 5), images, toy, cache_dir=tmp_path).value
    for batch_size in (50, 7, 1):  # the second and third time the reference comes from the cache
        assert frechet_score(shuffled, images, toy, cache_dir=tmp_path, batch_size=batch_size).value < 1e-6 * other


def test_constant_images_are_finite(toy: FeatureNetwork, tmp_path: Path) -> None:
    black = replace(image_set(5, 0), images=torch.zeros(5, 3, 8, 8, dtype=torch.uint8))
    assert frechet_score(black, black, toy, cache_dir=tmp_path).value == 0.0
    assert 0 < frechet_score(black, image_set(9, 0), toy, cache_dir=tmp_path).value < float("inf")


@pytest.mark.parametrize(("nr_samples", "nr_reference"), [(1, 9), (0, 9), (9, 1), (9, 0)])
def test_too_few_images_are_refused(toy: FeatureNetwork, tmp_path: Path, nr_samples: int, nr_reference: int) -> None:
    with pytest.raises(DataError, match="at least 2 images on either side"):
        frechet_score(image_set(nr_samples, 1), image_set(nr_reference, 2), toy, cache_dir=tmp_path)
    assert seen(toy) == 0 and not list(tmp_path.iterdir())


def test_warnings_say_what_limits_the_value(toy: FeatureNetwork, tmp_path: Path) -> None:
    network = replace(toy, is_inception=False, fallback_reason="no Inception here", caveat="other weights")
    score = frechet_score(
        image_set(6, 1), image_set(5, 2, size=16), network, floor_images=image_set(3, 3), cache_dir=tmp_path
    )
    told = "\n".join(score.warnings)
    for fact in (
        "not an FID",
        "no Inception here",
        "other weights",
        "6 samples for 6 dimensions",
        "5 reference images for 6 dimensions",
        "samples are 8x8 RGB but reference images 16x16 RGB",
        "floor comes from 3 real images",
    ):
        assert fact in told
    assert not score.is_fid
    assert "FID" not in score.protocol


def test_no_floor_without_images(toy: FeatureNetwork, tmp_path: Path) -> None:
    samples, reference = image_set(9, 1), image_set(9, 2)
    assert frechet_score(samples, reference, toy, cache_dir=tmp_path).floor is None
    assert frechet_score(samples, reference, toy, floor_images=image_set(1, 3), cache_dir=tmp_path).floor is None


def test_progress_goes_over_everything_once(toy: FeatureNetwork, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def run() -> list[int]:
        calls.clear()
        frechet_score(
            image_set(4, 1),
            image_set(6, 2),
            toy,
            floor_images=image_set(8, 3),
            batch_size=2,
            cache_dir=tmp_path,
            progress=lambda done, total: calls.append((done, total)),
        )
        assert {total for _, total in calls} == {calls[-1][0]}
        return [done for done, _ in calls]

    assert run() == [2, 4, 6, 8, 10, 12, 14]
    assert run() == [2, 4, 6, 8]  # the reference is cached


# Reference statistics from a file -------------------------------------------------------------------------------------


def test_reference_file(toy: FeatureNetwork, tmp_path: Path) -> None:
    samples, reference = image_set(20, 1), image_set(30, 2)
    path = tmp_path / "reference.npz"
    statistics = GaussianStatistics.from_features(extract_features(toy, reference.images))
    save_statistics(path, statistics)
    score = frechet_score(samples, path, toy, cache_dir=tmp_path / "cache")
    assert score.value == pytest.approx(frechet_score(samples, reference, toy, cache_dir=tmp_path / "cache").value)
    assert score.n_reference == 30 and str(path) in score.protocol
    save_statistics(path, replace(statistics, n=None))
    score = frechet_score(samples, path, toy)
    assert score.n_reference is None and "an unknown number of images" in score.protocol
    json.dumps(asdict(score), allow_nan=False)


def test_reference_file_of_other_features(toy: FeatureNetwork, tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    save_statistics(path, GaussianStatistics.from_features(torch.rand(9, 4)))
    with pytest.raises(
        DataError, match=r"reference\.npz holds statistics of 4 dimensions, but the features here have 6"
    ):
        frechet_score(image_set(9, 1), path, toy)
    path.write_text("<html>")
    with pytest.raises(DataError, match=r"reference\.npz"):
        frechet_score(image_set(9, 1), path, toy)
    assert seen(toy) == 0


# The cache ------------------------------------------------------------------------------------------------------------


def test_second_call_takes_the_cache(toy: FeatureNetwork, tmp_path: Path) -> None:
    samples, reference = image_set(9, 1), image_set(30, 2)
    first = frechet_score(samples, reference, toy, cache_dir=tmp_path)
    assert seen(toy) == 39 and len(list(tmp_path.iterdir())) == 1
    second = frechet_score(samples, reference, toy, cache_dir=tmp_path)
    assert seen(toy) == 39 + 9
    assert second == replace(first, value=second.value)
    assert second.value == pytest.approx(first.value, rel=1e-9)


def test_cache_depends_on_everything_that_matters(toy: FeatureNetwork, tmp_path: Path) -> None:
    samples, reference = image_set(9, 1), image_set(10, 2)
    changed = replace(reference, images=reference.images.clone())
    changed.images[0, 0, 0, 0] ^= 1
    reshaped = replace(reference, images=reference.images.view(10, 3, 4, 16))
    frechet_score(samples, reference, toy, cache_dir=tmp_path)
    frechet_score(samples, changed, toy, cache_dir=tmp_path)
    frechet_score(samples, reshaped, toy, cache_dir=tmp_path)
    frechet_score(samples, reference, replace(toy, name="other"), cache_dir=tmp_path)
    frechet_score(samples, reference, replace(toy, weights_digest="other"), cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("damage", ["empty", "half", "page", "other", "directory"])
def test_damaged_cache_is_ignored_and_told(toy: FeatureNetwork, tmp_path: Path, damage: str) -> None:
    samples, reference = image_set(9, 1), image_set(30, 2)
    expected = frechet_score(samples, reference, toy, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage == "other":
        save_statistics(path, GaussianStatistics.from_features(torch.rand(7, DIMS)))
    elif damage == "directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "page": b"<html>"}[damage])
    score = frechet_score(samples, reference, toy, cache_dir=tmp_path)
    assert score.value == expected.value
    assert "computed anew" in score.warnings[0]
    if damage != "directory":
        assert path.read_bytes() == whole or frechet_score(samples, reference, toy, cache_dir=tmp_path).warnings == ()


def test_unwritable_cache_is_not_fatal(toy: FeatureNetwork, tmp_path: Path) -> None:
    obstacle = tmp_path / "file"
    obstacle.write_text("in the way")
    score = frechet_score(image_set(9, 1), image_set(9, 2), toy, cache_dir=obstacle / "cache")
    assert "were not cached" in score.warnings[0]


def test_default_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "cpixelcnn" / "statistics"
    monkeypatch.setenv("HOME", str(tmp_path))
    for unusable in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert default_cache_dir() == tmp_path / ".cache" / "cpixelcnn" / "statistics"


def test_with_the_network_of_the_package_index(tmp_path: Path) -> None:
    """Real features order images: the reference's own kind is nearer than noise."""
    network = choose_features("efficientnet-lite0")
    ramp = torch.linspace(0, 200, 32).view(1, 1, 1, 32) + torch.arange(0, 48, 4).view(12, 1, 1, 1)
    smooth = replace(image_set(12, 0, size=32), images=ramp.expand(12, 3, 32, 32).byte())
    noise = image_set(6, 1, size=32)
    reference, near = smooth.select(torch.arange(0, 12, 2)), smooth.select(torch.arange(1, 12, 2))
    far = frechet_score(noise, reference, network, floor_images=near, cache_dir=tmp_path)
    assert far.floor is not None and 0 < far.floor < far.value
    assert not far.is_fid and "not an FID" in far.warnings[0]
