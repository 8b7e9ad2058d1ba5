"""Features of several sets, and their cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.fid import extractor
from cpixelcnn.fid.extractor import Extractor, default_cache_dir
from cpixelcnn.fid.features import FeatureNetwork
from cpixelcnn.fid.frechet import GaussianStatistics, save_statistics
from cpixelcnn.fid.score import frechet_score

MakeSet = Callable[..., ImageSet]
DIMS = 6


def test_second_call_takes_the_cache(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    samples, reference = image_set(9, 1), image_set(30, 2)
    first = frechet_score(samples, reference, toy, cache_dir=tmp_path)
    assert toy.module.seen == 39 and len(list(tmp_path.iterdir())) == 1
    second = frechet_score(samples, reference, toy, cache_dir=tmp_path)
    assert toy.module.seen == 39 + 9
    assert second == replace(first, value=second.value)
    assert second.value == pytest.approx(first.value, rel=1e-9)


def test_cache_depends_on_everything_that_matters(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
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
def test_damaged_cache_is_ignored_and_told(
    toy: FeatureNetwork, tmp_path: Path, damage: str, image_set: MakeSet
) -> None:
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


def test_two_that_start_cold_leave_one_sound_cache(
    toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process extracts and writes while the first is still at work; neither disturbs the other."""
    images, extract = image_set(30, 2), extractor.extract_features
    found: list[Tensor] = []

    def with_another(*arguments: Any) -> Tensor:
        monkeypatch.setattr(extractor, "extract_features", extract)
        found.append(Extractor(toy, cache_dir=tmp_path).features(images, cached=True).features)
        return extract(*arguments)

    monkeypatch.setattr(extractor, "extract_features", with_another)
    for _ in range(2):  # the second time from the cache
        mine = Extractor(toy, cache_dir=tmp_path)
        found.append(mine.features(images, cached=True).features)
        assert mine.notes == []
    assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])
    assert len(list(tmp_path.iterdir())) == 1 and toy.module.seen == 60


def test_unwritable_cache_is_not_fatal(toy: FeatureNetwork, tmp_path: Path, image_set: MakeSet) -> None:
    obstacle = tmp_path / "file"
    obstacle.write_text("in the way")
    score = frechet_score(image_set(9, 1), image_set(9, 2), toy, cache_dir=obstacle / "cache")
    assert "were not cached" in score.warnings[0]


def test_default_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "cpixelcnn" / "features"
    monkeypatch.setenv("HOME", str(tmp_path))
    for unusable in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert default_cache_dir() == tmp_path / ".cache" / "cpixelcnn" / "features"
