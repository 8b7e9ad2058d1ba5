"""Image sets: what they hold, how they are made from arrays, divided, and matched with a model's classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet, match_classes
from cpixelcnn.errors import ConfigError, DataError


def image_set(labels: list[int]) -> ImageSet:
    images = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    return ImageSet(images, torch.tensor(labels), ("a", "b", "c"), "some", "train")


def test_counts_and_labelled() -> None:
    assert image_set([0, 2, 2]).class_counts == (1, 0, 2)
    assert image_set([0, 2, 2]).labelled
    assert not image_set([0, UNLABELLED]).labelled
    assert image_set([0, UNLABELLED]).class_counts == (1, 0, 0)


def test_missing_labels_are_refused_where_they_are_needed() -> None:
    image_set([0, 1]).require_labels("training")
    with pytest.raises(DataError, match=r"1 of the 2 images of some \(train\) have no label, and training needs them"):
        image_set([0, UNLABELLED]).require_labels("training")


def test_select_keeps_everything_together() -> None:
    chosen = image_set([0, 1, 2]).select(torch.tensor([2, 0]))
    assert chosen.labels.tolist() == [2, 0] and chosen.images[:, 0, 0, 0].tolist() == [2, 0]


def test_indexing() -> None:
    images = image_set([0, 1, 2])
    image, label = images[1]
    assert image.shape == (3, 4, 4) and label == 1
    assert images[-1][1] == 2
    assert images[:2].labels.tolist() == [0, 1]
    assert images[[2, 0]].labels.tolist() == [2, 0]
    assert images[torch.tensor([True, False, True])].labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 8, 9), (5, 1, 8, 9)),
        ((5, 3, 8, 9), (5, 3, 8, 9)),
        ((5, 8, 9, 3), (5, 3, 8, 9)),
        ((5, 1, 8, 9), (5, 1, 8, 9)),
        ((5, 8, 9, 1), (5, 1, 8, 9)),
    ],
)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_from_arrays_of_any_layout(shape: tuple[int, ...], expected: tuple[int, ...], kind: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    given = torch.from_numpy(array) if kind == "torch" else array
    made = ImageSet.from_arrays(given, [0, 1, 0, 1, -1], ["ant", "bee"])
    assert tuple(made.images.shape) == expected
    last = array.ndim == 4 and shape[-1] in (1, 3)
    assert made.images[2, 0, 3, 4] == (
        array[2, 3, 4, 0] if last else array.reshape(5, -1, *array.shape[-2:])[2, 0, 3, 4]
    )
    assert made.labels.tolist() == [0, 1, 0, 1, -1] and made.classes == ("ant", "bee")
    array[:] = 0
    assert made.images.any(), "a copy"


def test_from_arrays_names_classes_by_number() -> None:
    made = ImageSet.from_arrays(np.zeros((2, 4, 4), np.uint8), [2, 0])
    assert made.classes == ("0", "1", "2") and made.name == "arrays"
    unlabelled = ImageSet.from_arrays(np.zeros((2, 4, 4), np.uint8))
    assert unlabelled.labels.tolist() == [-1, -1] and not unlabelled.classes


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4)), None, "images must be uint8"),
        (np.zeros((2, 4, 4), np.float32), None, "multiply by 255"),
        (np.zeros((2, 5, 6, 7), np.uint8), None, "must be"),
        (np.zeros((2, 3, 4, 3), np.uint8), None, "the first or the last axis may be that of the channels"),
        (np.zeros((4, 4), np.uint8), None, "must be"),
        ("pictures", None, "array"),
        (np.zeros((2, 4, 4), np.uint8), [0.5, 1.0], "labels must be integers"),
        (np.zeros((2, 4, 4), np.uint8), [0], "one for each image"),
        (np.zeros((2, 4, 4), np.uint8), [0, -2], "-1 where the class is not known"),
    ],
)
def test_other_arrays_are_refused(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet.from_arrays(images, labels)


def test_wrong_tensors_are_errors_not_asserts() -> None:
    pixels, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])
    with pytest.raises(DataError, match="there are 1 classes"):
        ImageSet(pixels, labels, ("a",), "some", "train")
    with pytest.raises(DataError, match="names that differ"):
        ImageSet(pixels, labels, ("a", "a"), "some", "train")
    with pytest.raises(DataError, match="labels must be int64"):
        ImageSet(pixels, labels.float(), ("a", "b"), "some", "train")
    with pytest.raises(DataError, match="images must be uint8"):
        ImageSet(pixels.float(), labels, ("a", "b"), "some", "train")


def test_stratified_split() -> None:
    train_set, validation_set = image_set([0, 1] * 10).stratified_split(0.2, seed=3)
    assert train_set.class_counts == (8, 8, 0) and validation_set.class_counts == (2, 2, 0)
    assert (train_set.split, validation_set.split) == ("train", "validation")
    assert "seed 3" in validation_set.origin
    with pytest.raises(ConfigError, match="between 0 and 1"):
        image_set([0, 1]).stratified_split(1.0)


def test_classes_are_matched_by_name_in_any_order_and_case() -> None:
    images = image_set([0, 1, 2, UNLABELLED])
    matched = match_classes(images, ("c", "A", "b"))
    assert matched.labels.tolist() == [1, 2, 0, UNLABELLED] and matched.classes == ("c", "A", "b")
    assert "without regard to capitals (a)" in matched.notes[0]
    assert match_classes(images, images.classes) is images


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "d"), ("A", "a ", "b")])
def test_other_classes_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"but some has a, b, c; choose the data set"):
        match_classes(image_set([0, 1, 2]), classes)
