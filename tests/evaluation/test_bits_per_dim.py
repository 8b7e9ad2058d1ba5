"""Bits per dimension: exact arithmetic, conditional against marginal, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import DataError
from cpixelcnn.evaluation.bits_per_dim import bits_per_dim, conditional_bits
from cpixelcnn.model.network import PixelCNN

CONFIG = ModelConfig(classes=("ant", "bee", "cat"), image_channels=3, image_height=2, image_width=5)
PER_BIT = CONFIG.nr_dimensions * math.log(2)


class UniformPredictor(nn.Module):
    """Stands in for a model to which all 256 values of every channel are equally probable."""

    device = torch.device("cpu")
    overrides_forward = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def log_prob(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.full((len(images),), self.config.nr_dimensions * math.log(1 / 256), dtype=torch.float64)


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model()


@pytest.fixture(scope="module")
def images(model: PixelCNN, make_images: Callable[..., Tensor]) -> Tensor:
    return make_images(model, 7)


LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_uniform_predictor_has_exactly_8_bits(batch_size: int, conditional: bool, channels: int) -> None:
    fusion = {} if conditional else {"early_fusion": "none", "film": "none"}
    config = ModelConfig(classes=("a", "b", "c"), image_channels=channels, image_height=28, image_width=27, **fusion)
    images = torch.zeros(10, channels, 28, 27, dtype=torch.uint8)
    labels = torch.arange(10) % 3
    result = bits_per_dim(UniformPredictor(config), images, labels, batch_size=batch_size)
    assert result.bpd_marginal == pytest.approx(8, abs=1e-12)
    assert result.stderr == pytest.approx(0, abs=1e-12)
    assert result.n_images == 10
    if conditional:
        assert result.bpd == pytest.approx(8, abs=1e-12)
    else:
        assert result.bpd is None


def test_by_hand() -> None:
    bits = torch.tensor([[3.0, 4.0, 5.0], [6.0, 2.0, 8.0]], dtype=torch.float64)
    result = conditional_bits(CONFIG, -bits * PER_BIT, torch.tensor([2, 0]), "uniform")
    assert result.bpd == pytest.approx((5 + 6) / 2)
    assert result.stderr == pytest.approx(0.5)  # deviation sqrt(((5 - 5.5)^2 + (6 - 5.5)^2) / (2 - 1)) over sqrt 2
    d = CONFIG.nr_dimensions
    marginal = [-math.log2(sum(2 ** (-b * d) for b in row) / 3) / d for row in bits.tolist()]
    assert result.bpd_marginal == pytest.approx(sum(marginal) / 2)
    assert result.n_images == 2


def test_standard_error() -> None:
    """Of the conditional figure where there is one, else of the marginal one; none of a single image."""
    log_likelihoods = -1000 - 100 * torch.rand(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(20) % 3
    own = [float(-log_likelihoods[i, labels[i]]) / PER_BIT for i in range(20)]
    mean = sum(own) / 20
    expected = math.sqrt(sum((x - mean) ** 2 for x in own) / 19 / 20)
    assert conditional_bits(CONFIG, log_likelihoods, labels, "uniform").stderr == pytest.approx(expected)
    marginal = (math.log(3) - log_likelihoods.logsumexp(dim=1)) / PER_BIT
    unlabelled = conditional_bits(CONFIG, log_likelihoods, None, "uniform")
    assert unlabelled.stderr == pytest.approx(float(marginal.std()) / math.sqrt(20))
    assert conditional_bits(CONFIG, log_likelihoods[:1], labels[:1], "uniform").stderr == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-300, -1), min_size=3, max_size=3), min_size=1, max_size=6),
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.randoms(use_true_random=False),
)
def test_marginal_lies_between_its_bounds(rows: list[list[float]], prior: list[float], random: object) -> None:
    """p(x) >= p(c) p(x | c) for every class, and p(x) <= max_c p(x | c)."""
    log_likelihoods = torch.tensor(rows, dtype=torch.float64)
    labels = torch.tensor([random.randrange(3) for _ in rows])  # type: ignore[attr-defined]
    result = conditional_bits(CONFIG, log_likelihoods, labels, prior)
    log_prior = torch.tensor([math.log(p / sum(prior)) for p in prior], dtype=torch.float64)
    assert result.bpd is not None
    assert result.bpd_marginal <= result.bpd - float(log_prior[labels].mean()) / PER_BIT + 1e-12
    assert result.bpd_marginal >= float(-log_likelihoods.max(dim=1).values.mean()) / PER_BIT - 1e-12
    uniform = conditional_bits(CONFIG, log_likelihoods, labels, "uniform")
    assert uniform.bpd == result.bpd
    assert uniform.bpd_marginal <= uniform.bpd + math.log2(3) / CONFIG.nr_dimensions + 1e-12


def test_of_a_model(model: PixelCNN, images: Tensor) -> None:
    result = bits_per_dim(model, images, LABELS, prior=[0.5, 0.3, 0.2])
    with torch.no_grad():
        columns = [model.log_prob(images, torch.full((7,), label)) for label in range(3)]
        own = model.log_prob(images, LABELS)
    per_bit = 48 * math.log(2)
    assert result.bpd == pytest.approx(float(-own.mean()) / per_bit)
    marginal = torch.stack(columns, dim=1) + torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    assert result.bpd_marginal == pytest.approx(float(-marginal.logsumexp(dim=1).mean()) / per_bit)


def test_of_an_unconditional_model(make_model: Callable[..., PixelCNN], images: Tensor) -> None:
    model = make_model(early_fusion="none", film="none")
    result = bits_per_dim(model, images, LABELS, batch_size=3)
    with torch.no_grad():
        bits = -model.log_prob(images) / (48 * math.log(2))
    assert result.bpd is None
    assert result.bpd_marginal == pytest.approx(float(bits.mean()))
    assert result.stderr == pytest.approx(float(bits.std()) / math.sqrt(7))
    assert result.n_images == 7


@pytest.mark.parametrize("fusion", [{}, {"early_fusion": "none", "film": "none"}], ids=["conditional", "unconditional"])
def test_batch_size_and_order_do_not_matter(
    fusion: dict[str, str], make_model: Callable[..., PixelCNN], images: Tensor
) -> None:
    model = make_model(**fusion)
    reference = bits_per_dim(model, images, LABELS)
    order = torch.tensor([3, 0, 6, 5, 1, 2, 4])
    others = [bits_per_dim(model, images, LABELS, batch_size=size) for size in (1, 3, 7)]
    others.append(bits_per_dim(model, images[order], LABELS[order], batch_size=3))
    for other in others:
        assert other.n_images == 7
        assert other.bpd == (None if fusion else pytest.approx(reference.bpd, rel=1e-6))
        assert other.bpd_marginal == pytest.approx(reference.bpd_marginal, rel=1e-6)
        assert other.stderr == pytest.approx(reference.stderr, rel=1e-5)


@pytest.mark.parametrize("labels", [None, torch.full((7,), -1), torch.tensor([0, 1, 2, 0, 1, 2, -1])])
def test_without_all_labels_there_is_no_conditional_figure(
    labels: Tensor | None, model: PixelCNN, images: Tensor
) -> None:
    result = bits_per_dim(model, images, labels)
    assert result.bpd is None
    assert result.bpd_marginal == bits_per_dim(model, images, LABELS).bpd_marginal


@pytest.mark.parametrize("fusion", [{}, {"early_fusion": "none", "film": "none"}], ids=["conditional", "unconditional"])
@pytest.mark.parametrize("labels", [None, torch.zeros(0, dtype=torch.int64)])
def test_no_images(
    labels: Tensor | None, fusion: dict[str, str], make_model: Callable[..., PixelCNN], images: Tensor
) -> None:
    with pytest.raises(DataError, match="no images"):
        bits_per_dim(make_model(**fusion), images[:0], labels)


@pytest.mark.parametrize("wrong", [3, -2])
def test_labels_out_of_range(wrong: int, model: PixelCNN, images: Tensor) -> None:
    labels = LABELS.clone()
    labels[4] = wrong
    with pytest.raises(DataError, match=str(wrong)):
        bits_per_dim(model, images, labels)


@pytest.mark.parametrize("count", [1, 6, 8])
def test_not_one_label_for_each_image(count: int, model: PixelCNN, images: Tensor) -> None:
    """Above all not a figure of the first images alone."""
    with pytest.raises(DataError):
        bits_per_dim(model, images, torch.zeros(count, dtype=torch.int64))


def test_images_of_another_shape(model: PixelCNN) -> None:
    with pytest.raises(DataError, match="resize"):
        bits_per_dim(model, torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


def test_progress_ends_at_its_total(make_model: Callable[..., PixelCNN], images: Tensor) -> None:
    for model, total in ((make_model(), 21), (make_model(early_fusion="none", film="none"), 7)):
        calls: list[tuple[int, int]] = []
        bits_per_dim(model, images, batch_size=3, progress=lambda done, of, calls=calls: calls.append((done, of)))
        assert [done for done, _ in calls] == sorted({done for done, _ in calls})
        assert {of for _, of in calls} == {total}
        assert calls[-1][0] == total
