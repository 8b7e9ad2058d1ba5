"""The incremental sampler: the parameters of the full network at every pixel, from memory that is allocated once."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cpixelcnn.model.mixture import DiscretizedLogisticMixture, scale_pixels
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.sampling.incremental.predictor import IncrementalPredictor
from cpixelcnn.sampling.naive import NaivePredictor
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.sample import sample

RELATIVE_ERROR = 1e-4  # the largest of 60 random networks had 3e-6
BFLOAT16_BITS = 0.02  # bits per dimension, mean of four images: the two batches below have 0.011 and 0.006 more
NAIVE = SamplingOptions(sampler="naive")

MakeModel = Callable[..., PixelCNN]
TeacherForced = Callable[..., Tensor]


def relative_error(parameters: Tensor, expected: Tensor) -> float:
    """The largest error of any pixel, relative to the largest of the mixture parameters (N, P, H, W) at that pixel."""
    assert parameters.shape == expected.shape
    assert parameters.dtype == torch.float32
    return float(((parameters - expected).abs() / expected.abs().amax(dim=1, keepdim=True)).max())


@torch.inference_mode()
def full_forward(model: PixelCNN, images: Tensor, labels: Tensor | None) -> Tensor:
    return model(scale_pixels(images), labels)


# --- The network's parameters ---------------------------------------------------------------------------------------

networks = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1000),
        "image_height": st.integers(1, 13),
        "image_width": st.integers(1, 13),
        "image_channels": st.sampled_from([1, 3]),
        "classes": st.sampled_from([("ant",), ("ant", "bee"), ("ant", "bee", "cat")]),
        "nr_resnets": st.integers(1, 2),
        "nr_filters": st.integers(1, 6),
        "nr_logistic_mix": st.integers(1, 3),
        "early_fusion": st.sampled_from(["vector", "template", "none"]),
        "film": st.sampled_from(["linear", "mlp", "none"]),
    }
)


@settings(max_examples=12, deadline=None)
@given(network=networks, n=st.integers(1, 4), data=st.data())
def test_parameters_are_the_full_networks(
    network: dict[str, Any],
    n: int,
    data: st.DataObject,
    make_model: MakeModel,
    make_images: Callable[..., Tensor],
    teacher_forced: TeacherForced,
) -> None:
    """At every pixel, of three batches in a row through one predictor, each of one class or of several."""
    model = make_model(**network)
    predictor = IncrementalPredictor(model, n)
    label = st.integers(0, model.config.nr_classes - 1)
    for batch in range(3):
        images = make_images(model, n, seed=batch)
        labels = None
        if model.config.conditional:
            one_class = label.map(lambda only: [only] * n)
            labels = torch.tensor(data.draw(one_class | st.lists(label, min_size=n, max_size=n)))
        parameters = teacher_forced(predictor, images, labels)
        assert relative_error(parameters, full_forward(model, images, labels)) < RELATIVE_ERROR


@pytest.mark.parametrize("film", ["linear", "none"])
def test_from_one_class_to_several_and_back(
    film: str, make_model: MakeModel, make_images: Callable[..., Tensor], teacher_forced: TeacherForced
) -> None:
    model = make_model(film=film, image_height=6, image_width=7)
    predictor = IncrementalPredictor(model, 3)
    for i, labels in enumerate(torch.tensor([[1, 1, 1], [0, 2, 1], [2, 2, 2], [0, 0, 0], [2, 0, 0]])):
        images = make_images(model, 3, seed=i)
        parameters = teacher_forced(predictor, images, labels)
        assert relative_error(parameters, full_forward(model, images, labels)) < RELATIVE_ERROR
        assert predictor.variant == int(len(labels.unique()) == 1)


@pytest.fixture(scope="module")
def shipped(trained: Callable[..., PixelCNN]) -> PixelCNN:
    return trained(32, 32)


@pytest.fixture(scope="module")
def shipped_images(shipped: PixelCNN) -> Tensor:
    """Images of its own, one of each class: what it computes on when it samples."""
    return sample(shipped, [0, 1, 2, 3], seed=1).images


each_kind_of_batch = pytest.mark.parametrize("labels", [[0, 1, 2, 3], [2, 2, 2, 2]])


@each_kind_of_batch
def test_trained_model(
    labels: list[int], shipped: PixelCNN, shipped_images: Tensor, teacher_forced: TeacherForced
) -> None:
    parameters = teacher_forced(IncrementalPredictor(shipped, 4), shipped_images, torch.tensor(labels))
    assert relative_error(parameters, full_forward(shipped, shipped_images, torch.tensor(labels))) < RELATIVE_ERROR


def test_an_interrupted_batch_leaves_nothing_behind(
    make_model: MakeModel, make_images: Callable[..., Tensor], teacher_forced: TeacherForced
) -> None:
    model = make_model(image_height=7, image_width=5)
    predictor = IncrementalPredictor(model, 2)
    images, labels = make_images(model, 2), torch.tensor([0, 2])
    expected = teacher_forced(predictor, images, labels)
    teacher_forced(predictor, make_images(model, 2, seed=1)[:, :, :3], labels)  # three of the seven rows
    assert torch.equal(teacher_forced(predictor, images, labels), expected)


def test_images_of_a_batch_do_not_meet(
    make_model: MakeModel, make_images: Callable[..., Tensor], teacher_forced: TeacherForced
) -> None:
    model = make_model(image_height=6, image_width=6)
    predictor = IncrementalPredictor(model, 3)
    images, labels = make_images(model, 3), torch.tensor([0, 2, 1])
    before = teacher_forced(predictor, images, labels)
    images[1] ^= 255
    after = teacher_forced(predictor, images, labels)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])


def test_later_changes_of_the_model_are_not_seen(
    make_model: MakeModel, make_images: Callable[..., Tensor], teacher_forced: TeacherForced
) -> None:
    """Weights are folded when the predictor is made; it must not read half of them from a model in training."""
    model = make_model(early_fusion="none", film="none")
    predictor = IncrementalPredictor(model, 2)
    images = make_images(model, 2)
    before = teacher_forced(predictor, images, None)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(teacher_forced(predictor, images, None), before)


# --- The same images ------------------------------------------------------------------------------------------------

LABELS = [0, 1, 2, 2, 1, 0, 1]


NETWORKS = [  # early fusion, FiLM, channels, rows and columns
    ("vector", "linear", 3, (5, 6)),
    ("template", "mlp", 3, (5, 6)),
    ("none", "none", 3, (5, 6)),
    ("template", "none", 1, (5, 6)),
    ("none", "mlp", 1, (5, 6)),
    ("vector", "linear", 1, (9, 3)),
    ("vector", "linear", 3, (1, 6)),
    ("vector", "linear", 3, (6, 1)),
]
OTHERS = [
    *product(("vector", "template", "none"), ("linear", "mlp", "none"), (1, 3), [(5, 6)]),
    *product(["vector"], ["linear"], (1, 3), [(4, 4), (9, 3), (1, 6), (6, 1)]),
]


@pytest.mark.parametrize(
    ("early_fusion", "film", "image_channels", "size"),
    NETWORKS + [pytest.param(*network, marks=pytest.mark.slow) for network in OTHERS if network not in NETWORKS],
)
def test_both_samplers_make_the_same_images(
    early_fusion: str,
    film: str,
    image_channels: int,
    size: tuple[int, int],
    make_model: MakeModel,
    assert_same_but_for_rounding: Callable[..., None],
) -> None:
    model = make_model(
        early_fusion=early_fusion,
        film=film,
        image_channels=image_channels,
        image_height=size[0],
        image_width=size[1],
    )
    incremental = sample(model, LABELS, seed=1)
    naive = sample(model, LABELS, seed=1, options=NAIVE)
    assert (naive.seeds, naive.labels.tolist()) == (incremental.seeds, incremental.labels.tolist())
    assert_same_but_for_rounding(incremental.images, naive.images)


@pytest.mark.parametrize(
    ("height", "width"),
    [(6, 7), pytest.param(32, 32, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
def test_both_samplers_make_the_same_images_of_the_trained_model(
    height: int, width: int, trained: Callable[..., PixelCNN], assert_same_but_for_rounding: Callable[..., None]
) -> None:
    model, labels = trained(height, width), [0, 1, 2, 3]
    images = sample(model, labels, seed=2).images
    assert_same_but_for_rounding(images, sample(model, labels, seed=2, options=NAIVE).images)


# --- bfloat16 -------------------------------------------------------------------------------------------------------


def bits_per_dim(parameters: Tensor, images: Tensor) -> Tensor:
    log_prob = DiscretizedLogisticMixture(parameters, images.shape[1]).log_prob(images)
    return -log_prob.double().sum(dim=(1, 2)) / images[0].numel() / math.log(2)


@each_kind_of_batch
def test_bfloat16_costs_few_bits(
    labels: list[int], shipped: PixelCNN, shipped_images: Tensor, teacher_forced: TeacherForced
) -> None:
    classes = torch.tensor(labels)
    exact = bits_per_dim(full_forward(shipped, shipped_images, classes), shipped_images)
    parameters = teacher_forced(IncrementalPredictor(shipped, 4, torch.bfloat16), shipped_images, classes)
    assert parameters.dtype == torch.float32, "the mixture is computed in float32"
    bits = bits_per_dim(parameters, shipped_images)
    assert not torch.equal(bits, exact), "it is another precision"
    assert 0 < float((bits - exact).mean()) < BFLOAT16_BITS
    assert float((bits - exact).abs().max()) < 2 * BFLOAT16_BITS


@pytest.mark.parametrize("image_channels", [1, 3])
@pytest.mark.parametrize(("early_fusion", "film"), [("template", "mlp"), ("vector", "none"), ("none", "none")])
def test_bfloat16_draws_images(early_fusion: str, film: str, image_channels: int, make_model: MakeModel) -> None:
    model = make_model(early_fusion=early_fusion, film=film, image_channels=image_channels, image_width=5)
    options = SamplingOptions(precision="bfloat16")
    for labels in ([0, 1, 2, 1], [2, 2, 2, 2]):
        images = sample(model, labels, seed=1, options=options).images
        assert len(images.unique()) > 20
        assert torch.equal(sample(model, labels, seed=1, options=options).images, images)


# --- Buffers --------------------------------------------------------------------------------------------------------


def nr_bytes_of(predictor: IncrementalPredictor) -> int:
    return sum(tensor.nbytes for tensor in predictor.buffers.tensors)


def live_bytes() -> int:
    """Of all tensors that there are, those that share memory counted once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) is Tensor:
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_memory_is_allocated_once(
    make_model: MakeModel, make_images: Callable[..., Tensor], teacher_forced: TeacherForced
) -> None:
    """Batch after batch, of one class and of several: the buffers stay as they are, and nothing else piles up."""
    model = make_model(image_height=6, image_width=5)
    images = make_images(model, 2)
    predictor = IncrementalPredictor(model, 2)
    buffers = nr_bytes_of(predictor)
    in_all = []
    for labels in torch.tensor([[0, 1], [2, 2], [1, 0], [1, 1]]):
        teacher_forced(predictor, images, labels)
        assert nr_bytes_of(predictor) == buffers
        in_all.append(live_bytes())
    assert len(set(in_all)) == 1
    assert in_all[0] > buffers


def test_memory_grows_with_the_width_but_not_the_height(make_model: MakeModel) -> None:
    """All but the early fusion, which is as large as the images, lives along a row."""

    def nr_bytes(height: int, width: int, n: int = 2) -> int:
        predictor = IncrementalPredictor(make_model(image_height=height, image_width=width), n)
        return nr_bytes_of(predictor) - predictor.fusion.nbytes

    assert nr_bytes(32, 8) == nr_bytes(8, 8)
    assert nr_bytes(8, 8) < nr_bytes(8, 16) < 2 * nr_bytes(8, 8)
    few, more = nr_bytes(8, 8, n=2), nr_bytes(8, 8, n=4)
    assert 1.9 * few < more <= 2 * few


def test_naive_predictor_is_the_network_itself(
    make_model: MakeModel, make_images: Callable[..., Tensor], teacher_forced: TeacherForced
) -> None:
    """The reference of all of the above: what is not placed yet does not matter."""
    model = make_model(image_height=3, image_width=5)
    predictor = NaivePredictor(model, 2)
    for labels in torch.tensor([[0, 2], [1, 1]]):
        images = make_images(model, 2, seed=int(labels[0]))
        parameters = teacher_forced(predictor, images, labels)
        torch.testing.assert_close(parameters, full_forward(model, images, labels), rtol=1e-5, atol=1e-5)
