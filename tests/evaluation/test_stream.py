"""Images classified batch by batch: the same as all at once, and nothing is read before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.datasets.user_images import UserBatch
from cpixelcnn.evaluation.bits_per_dim import bits_per_dim
from cpixelcnn.evaluation.classify import classify
from cpixelcnn.evaluation.stream import classify_batches
from cpixelcnn.model.network import PixelCNN


def batch(images: Tensor, first: int) -> UserBatch:
    paths = tuple(Path(("ant", "other")[i % 2]) / f"{first + i}.png" for i in range(len(images)))
    return UserBatch(paths, images, failures=(), animated=())


def test_the_same_as_all_at_once(make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]) -> None:
    model = make_model()
    images = make_images(model, 7)
    found = list(
        classify_batches(model, [batch(images[:4], 0), batch(images[4:], 4)], prior=[1, 2, 3], temperature=3.0, views=2)
    )
    expected = classify(model, images, prior=[1, 2, 3], temperature=3.0, views=2)
    together = torch.cat([each.classification.log_posteriors for each in found])
    torch.testing.assert_close(together, expected.log_posteriors, rtol=1e-5, atol=1e-4)
    mean = float(torch.cat([each.bits for each in found]).mean())
    assert abs(mean - bits_per_dim(model, images).bpd_marginal) < 1e-6
    assert found[0].labels.tolist() == [0, -1, 0, -1]
    assert found[1].paths == (Path("ant/4.png"), Path("other/5.png"), Path("ant/6.png"))


def test_batches_bring_their_crops(make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]) -> None:
    model = make_model()
    images = make_images(model, 3)
    crops = torch.stack([make_images(model, 3, seed=n) for n in range(4)])
    (found,) = classify_batches(model, [replace(batch(images, 0), crops=crops)], views=10)
    expected = classify(model, images, crops=crops, views=10)
    torch.testing.assert_close(found.classification.log_likelihoods, expected.log_likelihoods)


def test_one_batch_after_another(make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]) -> None:
    model = make_model()
    read = 0

    def batches() -> Iterator[UserBatch]:
        nonlocal read
        for first in range(3):
            read += 1
            yield batch(make_images(model, 2, seed=first), first)

    stream = classify_batches(model, batches())
    next(stream)
    assert read == 1


def test_a_batch_of_failures_alone(make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]) -> None:
    model = make_model()
    empty = UserBatch((), make_images(model, 0), failures=((Path("x.png"), "no such file"),), animated=())
    (found,) = classify_batches(model, [empty])
    assert found.classification.predictions.shape == found.bits.shape == (0,)
    assert found.source.failures == ((Path("x.png"), "no such file"),)
