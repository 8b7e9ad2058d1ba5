"""Sampling on a GPU, where rows are recorded as CUDA graphs: the same parameters, the same images.

Each test runs on the CPU, too, where nothing is recorded: there it checks itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.device import exact_float32
from cpixelcnn.model.mixture import scale_pixels
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.sampling.ancestral import AncestralSampler
from cpixelcnn.sampling.incremental.predictor import IncrementalPredictor
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.sample import draw_noise, make_sampler, sample

RELATIVE_ERROR = 1e-4
N = 4
HEIGHT, WIDTH = 7, 6
MIXED, ONE = [0, 2, 1, 1], [2, 2, 2, 2]

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
no_second_gpu = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")


@pytest.fixture(
    params=[
        pytest.param("cpu", marks=pytest.mark.slow),  # of which tests/sampling has proofs of its own
        pytest.param("cuda:0", marks=[pytest.mark.gpu, no_gpu]),
        pytest.param("cuda:1", marks=[pytest.mark.gpu, no_second_gpu]),
    ]
)
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Each GPU, while the first is the current one."""
    with exact_float32():
        yield torch.device(request.param)


NETWORKS: dict[str, dict[str, Any]] = {
    "vector": {},
    "template": {"early_fusion": "template", "film": "mlp", "nr_resnets": 2},
    "grey": {"image_channels": 1, "film": "none"},
    "unconditional": {"early_fusion": "none", "film": "none"},
}
each_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)

HOW: dict[str, dict[str, Any]] = {
    "model": {},
    "bfloat16": {"precision": "bfloat16"},
    "temperature": {"mixture_temperature": 0.5, "scale_temperature": 0.7},
    "guidance": {"guidance": 1.5},
    "guidance by a second model": {"guidance": 1.5},
}


@pytest.fixture
def make(make_model: Callable[..., PixelCNN], device: torch.device) -> Callable[..., PixelCNN]:
    """A model on the device, of images with more rows than there are kinds of them."""

    def make(**network: Any) -> PixelCNN:
        return make_model(image_height=HEIGHT, image_width=WIDTH, **network).to(device)

    return make


def noise_of(model: PixelCNN, batch: int) -> Tensor:
    return torch.stack([draw_noise(model.config, 10 * batch + i) for i in range(N)])


def labels_of(model: PixelCNN, classes: list[int]) -> Tensor | None:
    return torch.tensor(classes, device=model.device) if model.config.conditional else None


def assert_same_but_for_rounding(images: Tensor, others: Tensor) -> None:
    """At the first pixel (in sampler order) in which an image differs, by one step; and at most one image differs."""
    different = 0
    for image, other in zip(images.int(), others.int(), strict=True):
        steps = (image - other).abs().amax(dim=0).flatten()
        if steps.any():
            different += 1
            assert int(steps[steps.nonzero()[0]]) == 1
    assert different <= 1


# --- Against the full network ---------------------------------------------------------------------------------------


@each_network
@torch.inference_mode()
def test_parameters_are_the_full_networks(
    network: dict[str, Any], make: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """Teacher-forced, pixel by pixel, a batch of several classes, one of a single one, and the first again."""
    model = make(**network)
    predictor = IncrementalPredictor(model, N)
    for batch, classes in enumerate([MIXED, ONE, MIXED]):
        x, labels = scale_pixels(make_images(model, N, seed=batch).to(model.device)), labels_of(model, classes)
        expected = model(x, labels)
        scale = expected.abs().amax(dim=1)
        predictor.begin(labels)
        for row in range(HEIGHT):
            predictor.load_row(row)
            predictor.begin_row()
            for column in range(WIDTH):
                error = (predictor.parameters(column) - expected[:, :, row, column]).abs().amax(dim=1)
                assert float((error / scale[:, row, column]).max()) < RELATIVE_ERROR
                predictor.place(column, x[:, :, row, column])


@each_network
def test_both_samplers_make_the_same_images(network: dict[str, Any], make: Callable[..., PixelCNN]) -> None:
    model = make(**network)
    images = [sample(model, MIXED, seed=1, options=SamplingOptions(s)).images for s in ("incremental", "naive")]
    assert_same_but_for_rounding(*images)


@each_network
def test_images_are_those_of_the_cpu(network: dict[str, Any], make: Callable[..., PixelCNN]) -> None:
    """The noise does not depend on the device, and the arithmetic in its last bits alone."""
    model = make(**network)
    images = sample(model, MIXED, seed=1).images
    assert images.device.type == "cpu"
    assert_same_but_for_rounding(sample(model.cpu(), MIXED, seed=1).images, images)


# --- Recorded rows --------------------------------------------------------------------------------------------------


def samplers(
    model: PixelCNN, unconditional: PixelCNN | None, how: dict[str, Any]
) -> tuple[AncestralSampler, AncestralSampler]:
    """Two that make the same images; the first may record its rows, the second does not."""
    recorded, plain = (make_sampler(model, unconditional, SamplingOptions(**how), N) for _ in range(2))
    assert (recorded.graphs is not None) == (model.device.type == "cuda")
    plain.graphs = None
    return recorded, plain


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_recorded_rows_make_the_same_images(
    how: dict[str, Any],
    request: pytest.FixtureRequest,
    make: Callable[..., PixelCNN],
    make_images: Callable[..., Tensor],
) -> None:
    """Batches of one class and of several, new and completed, through one and the same sampler."""
    model = make()
    with_second_model = "second" in request.node.callspec.id
    unconditional = make(seed=1, early_fusion="none", film="none") if with_second_model else None
    recorded, plain = samplers(model, unconditional, how)
    given = make_images(model, N)
    order = [(ONE, 0), (MIXED, 0), (ONE, 5), (MIXED, 3), (ONE, 0), (MIXED, 5), (MIXED, 0)]
    for batch, (classes, from_row) in enumerate(order):
        labels, noise = labels_of(model, classes), noise_of(model, batch)
        images = recorded.draw(labels, noise, given, from_row)
        assert torch.equal(images, plain.draw(labels, noise, given, from_row))
        assert torch.equal(images[:, :, :from_row], given[:, :, :from_row])
        assert len(images[:, :, from_row:].unique()) > 20


@each_network
def test_recorded_rows_of_every_network(network: dict[str, Any], make: Callable[..., PixelCNN]) -> None:
    model = make(**network)
    recorded, plain = samplers(model, None, {})
    for batch, classes in enumerate([MIXED, ONE, MIXED]):
        labels, noise = labels_of(model, classes), noise_of(model, batch)
        assert torch.equal(recorded.draw(labels, noise), plain.draw(labels, noise))


def test_first_batch_may_be_a_completion(make: Callable[..., PixelCNN], make_images: Callable[..., Tensor]) -> None:
    """The rows that are recorded first are then those that are kept, by other operations where there is guidance."""
    model = make()
    recorded, plain = samplers(model, None, {"guidance": 1.0})
    given, labels, noise = make_images(model, N), labels_of(model, MIXED), noise_of(model, 0)
    for from_row in (HEIGHT, 5, 0):
        images = recorded.draw(labels, noise, given, from_row)
        assert torch.equal(images, plain.draw(labels, noise, given, from_row))


def test_two_samplers_side_by_side(make: Callable[..., PixelCNN]) -> None:
    """Neither writes to the other's memory, whichever records first, and one outlives the other."""
    models = [make(), make(seed=5, film="none")]
    first, second = (samplers(model, None, {}) for model in models)
    labels, noise = labels_of(models[0], MIXED), noise_of(models[0], 0)
    expected = [plain.draw(labels, noise) for _, plain in (first, second)]
    for _ in range(2):
        for (recorded, _), images in zip((first, second), expected, strict=True):
            assert torch.equal(recorded.draw(labels, noise), images)
    del first, recorded
    for _ in range(2):
        assert torch.equal(second[0].draw(labels, noise), expected[1])


def test_completing_a_sample_gives_it_back(make: Callable[..., PixelCNN]) -> None:
    model = make()
    images = sample(model, MIXED, seed=2).images
    for from_row in (1, 5, HEIGHT):
        again = sample(model, MIXED, seed=2, given=images, from_row=from_row).images
        assert_same_but_for_rounding(again, images)


@pytest.mark.gpu
@no_gpu
def test_memory_does_not_grow_with_the_batches(make_model: Callable[..., PixelCNN]) -> None:
    """Every kind of row has been recorded after two batches; from then on nothing is allocated that stays."""
    model = make_model(image_height=HEIGHT, image_width=WIDTH).cuda()
    sampler, _ = samplers(model, None, {})
    allocated = []
    for batch, classes in enumerate([MIXED, ONE, MIXED, ONE, MIXED]):
        sampler.draw(labels_of(model, classes), noise_of(model, batch))
        torch.cuda.synchronize()
        allocated.append(torch.cuda.memory_allocated())
    assert allocated[1] == allocated[2] == allocated[3] == allocated[4]
