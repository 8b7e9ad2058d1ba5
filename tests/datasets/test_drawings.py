"""The embedded data set: reproducible, balanced, varied, and out of reach of a linear classifier."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cpixelcnn.datasets.drawings import CLASSES, draw, generate

SPLITS = ("train", "validation", "test")

# Mean red, green and blue of each class over the first 64 training pictures.
PINNED_MEANS = (
    (130.40, 110.59, 91.51),
    (145.07, 140.45, 141.45),
    (144.29, 131.42, 134.65),
    (145.60, 113.07, 94.94),
)


def test_classes_keep_their_order() -> None:
    assert CLASSES == ("hamburger", "panda", "koala", "pizza")


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (32, 32), (20, 36), (36, 20)])
def test_shapes_and_types(height: int, width: int) -> None:
    images, labels = generate("train", 6, height=height, width=width)
    assert images.shape == (6, 3, height, width)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 2, 3, 0, 1]
    for image in images:
        assert np.ptp(image) > 40


def test_generate_is_deterministic_and_prefix_stable() -> None:
    images, labels = generate("validation", 12, seed=3)
    again, _ = generate("validation", 12, seed=3)
    fewer, fewer_labels = generate("validation", 5, seed=3)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(images[:5], fewer)
    np.testing.assert_array_equal(labels[:5], fewer_labels)


def test_generate_agrees_with_draw() -> None:
    images, labels = generate("test", 8, seed=1, height=16, width=24)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        alone = draw(int(label), split="test", index=index, seed=1, height=16, width=24)
        np.testing.assert_array_equal(image, alone)


def test_labels_are_balanced() -> None:
    _, labels = generate("train", 40, height=8, width=8)
    assert np.bincount(labels).tolist() == [10, 10, 10, 10]


def test_splits_and_seeds_share_no_picture() -> None:
    pictures = [
        image.tobytes()
        for seed in (0, 1)
        for split in SPLITS
        for image in generate(split, 100, seed=seed, height=16, width=16)[0]
    ]
    assert len(set(pictures)) == len(pictures)


def test_the_label_changes_the_object_but_not_the_background() -> None:
    pictures = np.stack([draw(label, split="train", index=2, height=24, width=48) for label in range(4)])
    differs = (pictures != pictures[0]).any(axis=(0, 1))
    assert 0.1 < differs.mean() < 0.5
    assert not differs[:, 0].any()


def test_size_changes_the_resolution_but_not_the_picture() -> None:
    small = draw(1, split="train", index=7, height=16, width=16).astype(float)
    large = draw(1, split="train", index=7, height=64, width=64).astype(float)
    pooled = large.reshape(3, 16, 4, 16, 4).mean(axis=(2, 4))
    assert np.abs(small - pooled).mean() < 6.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": 4}, "label"),
        ({"label": -1}, "label"),
        ({"split": "holdout"}, "split"),
        ({"index": -1}, "index"),
        ({"seed": -1}, "seed"),
        ({"height": 7}, "at least 8"),
        ({"width": 0}, "at least 8"),
    ],
)
def test_draw_refuses(arguments: dict[str, int | str], message: str) -> None:
    valid: dict[str, int | str] = {"label": 0, "split": "train", "index": 0}
    with pytest.raises(ValueError, match=message):
        draw(**(valid | arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, -4])
def test_generate_refuses_an_empty_count(count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        generate("train", count)


def test_generate_refuses_what_draw_refuses() -> None:
    with pytest.raises(ValueError, match="split"):
        generate("", 4)
    with pytest.raises(ValueError, match="seed"):
        generate("train", 4, seed=-1)
    with pytest.raises(ValueError, match="at least 8"):
        generate("train", 4, height=4)


def _ridge_accuracy(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    unseen: NDArray[np.float64],
    truth: NDArray[np.int64],
    penalty: float,
) -> float:
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    features, unseen = (features - mean) / spread, (unseen - mean) / spread
    targets = np.eye(len(CLASSES))[labels] - 1.0 / len(CLASSES)
    gram = features @ features.T + penalty * np.eye(len(features))
    scores = unseen @ (features.T @ np.linalg.solve(gram, targets))
    return float((scores.argmax(axis=1) == truth).mean())


def test_neither_pixels_nor_colour_give_the_class_to_a_linear_classifier() -> None:
    images, labels = generate("train", 1200)
    unseen, truth = generate("test", 400)
    pixels, unseen_pixels = images.reshape(1200, -1) / 255.0, unseen.reshape(400, -1) / 255.0
    for penalty in (1e2, 1e3, 1e4):
        assert _ridge_accuracy(pixels, labels, unseen_pixels, truth, penalty) < 0.75
    colours, unseen_colours = images.mean(axis=(2, 3)), unseen.mean(axis=(2, 3))
    assert _ridge_accuracy(colours, labels, unseen_colours, truth, 1.0) < 0.45


def test_the_pictures_stay_what_they_are() -> None:
    images, labels = generate("train", 64)
    means = np.stack([images[labels == label].mean(axis=(0, 2, 3)) for label in range(len(CLASSES))])
    np.testing.assert_allclose(means, PINNED_MEANS, atol=0.5)
