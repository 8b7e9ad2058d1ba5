"""Files of features: what is refused, and that nothing in them ever runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpixelcnn.errors import DataError
from cpixelcnn.fid.feature_sets import FeatureSet, load_features, save_features
from cpixelcnn.fid.features import FeatureNetwork


def feature_set() -> FeatureSet:
    return FeatureSet(torch.rand(5, 6), torch.tensor([0, 1, 0, -1, 1]), ("a", "b"), "toys test", "8x8 RGB")


def write(path: Path, **changes: Any) -> None:
    """A sound file but for these arrays; None leaves one out."""
    arrays: dict[str, Any] = {
        "features": np.zeros((5, 6), np.float32),
        "labels": np.array([0, 1, 0, -1, 1]),
        "classes": np.array(["a", "b"]),
        "name": np.array("toys"),
        "image_size": np.array("8x8 RGB"),
        "weights_digest": np.array("digest"),
    }
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})


def test_what_is_written_is_read(toy: FeatureNetwork, tmp_path: Path) -> None:
    written = feature_set()
    save_features(tmp_path / "features.npz", written, toy)
    read = load_features(tmp_path / "features.npz", toy)
    assert torch.equal(read.features, written.features) and torch.equal(read.labels, written.labels)
    assert (read.classes, read.name, read.image_size) == (written.classes, written.name, written.image_size)
    assert not read.labelled and read.class_counts == (2, 2)
    write(tmp_path / "features.npz")
    assert len(load_features(tmp_path / "features.npz", toy)) == 5


class Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def test_pickled_objects_are_refused(toy: FeatureNetwork, tmp_path: Path) -> None:
    path, marker = tmp_path / "features.npz", tmp_path / "ran"
    write(path, features=np.array([Payload(marker)], dtype=object))
    with pytest.raises(DataError, match="not a sound file of features"):
        load_features(path, toy)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": None}, "features"),
        ({"weights_digest": None}, "weights_digest"),
        ({"features": np.zeros((5, 7), np.float32)}, r"\(5, 7\), not \(N, 6\)"),
        ({"features": np.full((5, 6), np.nan, np.float32)}, "not finite"),
        ({"labels": np.zeros(4, int)}, "one whole number an image"),
        ({"labels": np.array([0, 1, 0, -2, 1])}, "one whole number an image"),
        ({"labels": np.array([0, 1, 0, 2, 1])}, "a label has no class"),
        ({"weights_digest": np.array("another")}, "other weights"),
    ],
)
def test_unsound_files(toy: FeatureNetwork, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path / "features.npz", **changes)
    with pytest.raises(DataError, match=message) as caught:
        load_features(tmp_path / "features.npz", toy)
    assert "features.npz" in str(caught.value)


def test_files_that_are_none(toy: FeatureNetwork, tmp_path: Path) -> None:
    (tmp_path / "page.npz").write_text("<html>")
    for path in (tmp_path / "page.npz", tmp_path, tmp_path / "absent.npz", Path("/dev/zero")):
        with pytest.raises(DataError, match="not a sound file"):
            load_features(path, toy)


def test_a_place_that_cannot_be_written(toy: FeatureNetwork, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="choose another place"):
        save_features(tmp_path / "absent" / "features.npz", feature_set(), toy)
