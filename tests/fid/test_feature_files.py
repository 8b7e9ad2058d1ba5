"""Files of features that are damaged or hostile."""

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
from cpixelcnn.fid.reference import _holds_features

DIMS = 6


@pytest.fixture
def path(tmp_path: Path, toy: FeatureNetwork) -> Path:
    features = FeatureSet(torch.rand(5, DIMS), torch.tensor([0, 1, 1, 0, -1]), ("a", "ü"), "toys test", "8x8 RGB")
    save_features(tmp_path / "file.npz", features, toy)
    return tmp_path / "file.npz"


def test_what_was_saved_is_loaded(path: Path, toy: FeatureNetwork) -> None:
    found = load_features(path, toy)
    assert (found.classes, found.name, found.image_size) == (("a", "ü"), "toys test", "8x8 RGB")
    assert found.features.shape == (5, DIMS) and found.labels.tolist() == [0, 1, 1, 0, -1]
    assert _holds_features(path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("features", None),
        ("features", np.zeros((5, DIMS + 1), np.float32)),
        ("features", np.full((5, DIMS), np.nan, np.float32)),
        ("features", np.full((5, DIMS), 1e300)),
        ("features", np.zeros((5, DIMS), np.complex64)),
        ("labels", np.zeros(5, np.float32)),
        ("labels", np.zeros(4, np.int64)),
        ("labels", np.full(5, 7)),
        ("labels", np.full(5, -2)),
        ("classes", np.array([1, 2])),
        ("classes", np.array(["a"] * 2, dtype=object)),
        ("name", np.array(["a", "b"])),
        ("image_size", np.array(b"8x8")),
        ("weights_digest", np.array("of another network")),
    ],
)
def test_other_arrays_are_refused(path: Path, toy: FeatureNetwork, name: str, array: Any) -> None:
    with np.load(path) as stored:
        arrays = {key: stored[key] for key in stored.files}
    del arrays[name]
    np.savez(path, **arrays, **({} if array is None else {name: array}))
    with pytest.raises(DataError, match=r"file\.npz is not a sound file of features"):
        load_features(path, toy)


@pytest.mark.timeout(20)
def test_a_pipe_is_neither_features_nor_waited_for(tmp_path: Path, toy: FeatureNetwork) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert not _holds_features(tmp_path / "pipe.npz")
    with pytest.raises(DataError, match="not a file"):
        load_features(tmp_path / "pipe.npz", toy)
