"""The whole way from images to a distance, and what is told beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import DataError
from cpixelcnn.fid.extractor import Extractor
from cpixelcnn.fid.features import FeatureNetwork, choose_features, extract_features
from cpixelcnn.fid.frechet import GaussianStatistics, frechet_distance, save_statistics
from cpixelcnn.fid.kernel import kernel_distance
from cpixelcnn.fid.neighbours import neighbour_scores
from cpixelcnn.fid.reference import prepare_reference
from cpixelcnn.fid.score import FrechetScore, frechet_score, score_model
from cpixelcnn.model.network import PixelCNN

MakeSet = Callable[..., ImageSet]
DIMS = 6


def test_score(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
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


def test_a_set_against_itself_is_zero_whatever_the_order(
    toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet
) -> None:
    images = image_set(25, 4)
    shuffled = images.select(torch.randperm(25))
    other = frechet_score(image_set(25, 5), images, toy, cache_dir=tmp_path).value
    for batch_size in (50, 7, 1):  # the second and third time the reference comes from the cache
        assert frechet_score(shuffled, images, toy, cache_dir=tmp_path, batch_size=batch_size).value < 1e-6 * other


def test_constant_images_are_finite(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    black = replace(image_set(5, 0), images=torch.zeros(5, 3, 8, 8, dtype=torch.uint8))
    assert frechet_score(black, black, toy, cache_dir=tmp_path).value == 0.0
    assert 0 < frechet_score(black, image_set(9, 0), toy, cache_dir=tmp_path).value < float("inf")


@pytest.mark.parametrize(("nr_samples", "nr_reference"), [(1, 9), (0, 9), (9, 1), (9, 0)])
def test_too_few_images_are_refused(
    toy: FeatureNetwork, tmp_path: Path, nr_samples: int, nr_reference: int, image_set: MakeSet
) -> None:
    with pytest.raises(DataError, match="at least 2 images on either side"):
        frechet_score(image_set(nr_samples, 1), image_set(nr_reference, 2), toy, cache_dir=tmp_path)
    assert toy.module.seen == 0 and not list(tmp_path.iterdir())


def test_warnings_say_what_limits_the_value(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
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


def test_the_floor_has_as_many_of_each_class_as_the_samples(
    toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet
) -> None:
    samples, real = image_set(40, 1).select(torch.arange(4, 26)), image_set(60, 3, "train")  # 16 and 6
    score = frechet_score(samples, image_set(30, 2), toy, floor_images=real, cache_dir=tmp_path)
    chosen = real.select(torch.cat([torch.arange(16), torch.arange(30, 36)]))
    assert score.n_floor == 22
    assert score.floor == pytest.approx(frechet_score(chosen, image_set(30, 2), toy, cache_dir=tmp_path).value)
    unknown = replace(samples, labels=torch.full((22,), -1))
    score = frechet_score(unknown, image_set(30, 2), toy, floor_images=real, cache_dir=tmp_path)
    chosen = real.select(torch.cat([torch.arange(11), torch.arange(30, 41)]))
    assert score.floor == pytest.approx(frechet_score(chosen, image_set(30, 2), toy, cache_dir=tmp_path).value)


def test_the_kin_of_the_distance(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    """From the same features; beside each, what real images give."""
    samples, reference, train = image_set(20, 1, "samples"), image_set(30, 2), image_set(60, 3, "train")
    score = frechet_score(samples, reference, toy, floor_images=train, cache_dir=tmp_path)
    x, y, real = (
        extract_features(toy, images)
        for images in (samples.images, reference.images, torch.cat([train.images[:10], train.images[30:40]]))
    )
    assert score.kernel == kernel_distance(x, y)
    assert score.kernel_floor == kernel_distance(real, y)
    assert score.neighbours == neighbour_scores(x, y)
    assert score.neighbours_floor == neighbour_scores(real, y)
    assert (score.sample_size, score.reference_size) == ("8x8 RGB", "8x8 RGB")
    assert (score.rank_samples, score.rank_reference) == (6, 6)
    few = frechet_score(image_set(3, 1), reference, toy, cache_dir=tmp_path)
    assert few.neighbours is None and few.kernel is not None and few.rank_samples == 2


def test_per_class(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    samples, reference, train = image_set(20, 1, "samples"), image_set(30, 2), image_set(60, 3, "train")
    score = frechet_score(samples, reference, toy, floor_images=train, per_class=True, cache_dir=tmp_path)
    for i, (name, half) in enumerate(zip("ab", (slice(0, 10), slice(10, 20)), strict=True)):
        real = reference.select(torch.arange(15 * i, 15 * i + 15))
        floor = train.select(torch.arange(30 * i, 30 * i + 10))
        alone = frechet_score(samples[half], real, toy, floor_images=floor, cache_dir=tmp_path)
        found = score.per_class[i]
        assert (found.name, found.n_samples, found.n_reference, found.n_floor) == (name, 10, 15, 10)
        assert (found.value, found.floor) == pytest.approx((alone.value, alone.floor))
    json.dumps(asdict(score), allow_nan=False)
    one = frechet_score(samples[:11], reference, toy, floor_images=train, per_class=True, cache_dir=tmp_path)
    assert one.per_class[1].value is None  # a single image has no covariance


def test_per_class_needs_classes(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    labelled = image_set(9, 1)
    unknown = replace(labelled, labels=torch.full((9,), -1))
    others = replace(labelled, classes=("a", "c"))
    for samples, reference, message in (
        (unknown, labelled, "samples of known classes"),
        (labelled, unknown, "such as validation"),
        (labelled, others, "the reference a, c"),
    ):
        with pytest.raises(DataError, match=message):
            frechet_score(samples, reference, toy, per_class=True, cache_dir=tmp_path)
    statistics = tmp_path / "statistics.npz"
    save_statistics(statistics, GaussianStatistics.from_features(torch.rand(9, DIMS)))
    with pytest.raises(DataError, match="the statistics in"):
        frechet_score(labelled, statistics, toy, per_class=True, cache_dir=tmp_path)


def test_classes_are_matched_by_name(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    """A data set may have its classes in another order than the model; where a name is missing, none are matched."""
    samples, reference, train = image_set(20, 1, "samples"), image_set(30, 2), image_set(60, 3, "train")

    def score(*real: ImageSet) -> FrechetScore:
        return frechet_score(samples, real[0], toy, floor_images=real[1], per_class=True, cache_dir=tmp_path)

    turned = [replace(real, labels=1 - real.labels, classes=("B", "a")) for real in (reference, train)]
    assert score(*turned) == score(reference, train)
    others = replace(reference, classes=("a", "c"))
    assert frechet_score(samples, others, toy, cache_dir=tmp_path).balance.reference is None


def test_classes_that_are_not_as_frequent_are_told(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    reference = image_set(30, 2)

    def score(samples: ImageSet) -> FrechetScore:
        return frechet_score(samples, reference, toy, cache_dir=tmp_path)

    even = score(image_set(20, 1))
    assert (even.balance.samples, even.balance.reference, even.balance.difference) == ((10, 10), (15, 15), 0)
    assert even.warnings == ()
    uneven = score(image_set(40, 1)[6:28])  # 14 and 8
    assert uneven.balance.difference == pytest.approx(14 / 22 - 0.5)
    assert "14 % of the samples would have to be of another class" in uneven.warnings[0]
    assert score(image_set(9, 1)).warnings == ()  # five and four cannot be more even
    unknown = score(replace(image_set(20, 1), labels=torch.full((20,), -1), classes=()))
    assert (unknown.balance.samples, unknown.balance.difference) == (None, None)


def test_a_model_is_scored_by_samples_of_each_class(
    toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet, make_model: Callable[..., PixelCNN]
) -> None:
    """The reference is prepared once, and seen once, for any number of models."""
    extractor = Extractor(toy, cache_dir=tmp_path)
    reference = prepare_reference(image_set(30, 2), extractor, image_set(60, 3, "train"))
    assert toy.module.seen == 30
    asked: list[Tensor] = []

    def draw(model: PixelCNN, labels: Tensor) -> Tensor:
        asked.append(labels)
        return image_set(len(labels), len(asked)).images

    model = make_model(classes=("a", "b"))
    scores = [score_model(model, draw, reference, extractor, 5, per_class=True) for _ in range(2)]
    assert toy.module.seen == 30 + 2 * 10 + 10  # the floor once
    assert asked[0].tolist() == [0] * 5 + [1] * 5
    assert [score.balance.samples for score in scores] == [(5, 5)] * 2
    assert scores[0].value != scores[1].value and scores[0].floor == scores[1].floor
    expected = frechet_score(
        image_set(10, 1), image_set(30, 2), toy, floor_images=image_set(60, 3, "train"), cache_dir=tmp_path
    )
    assert scores[0].value == pytest.approx(expected.value)
    unconditional = make_model(early_fusion="none", film="none", classes=())
    assert score_model(unconditional, draw, reference, extractor, 6).n_samples == 6


def test_no_floor_without_images(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    samples, reference = image_set(9, 1), image_set(9, 2)
    assert frechet_score(samples, reference, toy, cache_dir=tmp_path).floor is None
    assert frechet_score(samples, reference, toy, floor_images=image_set(1, 3), cache_dir=tmp_path).floor is None


def test_progress_goes_over_everything_once(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
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
    assert run() == [2, 4]  # the real images are cached


def test_reference_file(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
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


def test_reference_file_of_other_features(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    path = tmp_path / "reference.npz"
    save_statistics(path, GaussianStatistics.from_features(torch.rand(9, 4)))
    with pytest.raises(
        DataError, match=r"reference\.npz holds statistics of 4 dimensions, but the features here have 6"
    ):
        frechet_score(image_set(9, 1), path, toy)
    path.write_text("<html>")
    with pytest.raises(DataError, match=r"reference\.npz"):
        frechet_score(image_set(9, 1), path, toy)
    assert toy.module.seen == 0


def test_with_the_network_of_the_package_index(tmp_path: Path, image_set: MakeSet) -> None:
    """Real features order images: the reference's own kind is nearer than noise."""
    network = choose_features("efficientnet-lite0")
    ramp = torch.linspace(0, 200, 32).view(1, 1, 1, 32) + torch.arange(0, 48, 4).view(12, 1, 1, 1)
    smooth = replace(image_set(12, 0, size=32), images=ramp.expand(12, 3, 32, 32).byte())
    noise = image_set(6, 1, size=32)
    reference, near = smooth.select(torch.arange(0, 12, 2)), smooth.select(torch.arange(1, 12, 2))
    far = frechet_score(noise, reference, network, floor_images=near, cache_dir=tmp_path)
    assert far.floor is not None and 0 < far.floor < far.value
    assert not far.is_fid and "not an FID" in far.warnings[0]
