"""The loss: the generative one to the bit, and the discriminative term against the sum over all classes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cpixelcnn.config import DataConfig, RunConfig, TrainConfig
from cpixelcnn.device import network_precision
from cpixelcnn.errors import ConfigError
from cpixelcnn.model.mixture import DiscretizedLogisticMixture, scale_pixels
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.orientations import in_orientation
from cpixelcnn.training.batches import Batch
from cpixelcnn.training.objective import Objective, posterior_nll, wrong_classes

CPU = torch.device("cpu")
Fit = Callable[..., Any]
State = Callable[[Path], dict[str, Any]]


def make_objective(model: PixelCNN, **options: Any) -> Objective:
    return Objective(RunConfig(model.config, DataConfig(), TrainConfig(**options)), "float32", CPU)


def make_batch(n: int, nr_classes: int = 3, first: int = 0, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(n)
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
    return Batch(images, torch.randint(0, nr_classes, (n,), generator=generator), first)


def gradients(model: PixelCNN, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_without_the_term_it_is_bits_per_dim_to_the_bit(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model(dropout=0.5).train()
    batch = make_batch(8, first=40)
    torch.manual_seed(5)
    loss = make_objective(model, discriminative_classes=2, discriminative_share=1.0)(model, batch, 40, 8)
    torch.manual_seed(5)
    with network_precision("float32", CPU):
        parameters = model(scale_pixels(batch.images), batch.labels)
    log_prob = DiscretizedLogisticMixture(parameters, 3).log_prob(batch.images)
    expected = -log_prob.sum() / (len(batch) * model.config.nr_dimensions * math.log(2))
    assert loss.total is loss.bits_per_dim
    assert torch.equal(loss.total, expected)
    mine, theirs = gradients(model, loss.total), gradients(model, expected)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("options", [{}, {"discriminative_weight": 0.1, "discriminative_share": 0.5}])
def test_the_model_is_told_how_images_were_turned(
    make_model: Callable[..., PixelCNN], options: dict[str, float]
) -> None:
    model = make_model(nr_orientations=4)
    batch = dataclasses.replace(make_batch(8), orientations=torch.arange(8) % 4)
    found = make_objective(model, **options)(model, batch, 0, 8).bits_per_dim
    log_probs = [
        in_orientation(model, i % 4).log_prob(batch.images[i : i + 1], batch.labels[i : i + 1]) for i in range(8)
    ]
    expected = -torch.cat(log_probs).mean() / (model.config.nr_dimensions * math.log(2))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("share", "temperature"), [(1.0, 1.0), (0.5, 1.0), (0.01, 1.0), (1.0, 8.0)])
def test_all_wrong_classes_give_the_exact_posterior(
    make_model: Callable[..., PixelCNN], share: float, temperature: float
) -> None:
    """Value and gradient, against softmax over the log-likelihoods of all classes, divided by a temperature."""
    model, batch, weight = make_model(perturb=0.1, dropout=0.0).train(), make_batch(6), 0.3
    options = {"discriminative_weight": weight, "discriminative_classes": 2, "discriminative_share": share}
    loss = make_objective(model, **options, discriminative_temperature=temperature)(model, batch, 0, 6)

    likelihoods = torch.stack([model.log_prob(batch.images, torch.full((6,), c)) for c in range(3)], dim=1)
    right = likelihoods.gather(1, batch.labels[:, None])[:, 0]
    bits = -right.mean() / (model.config.nr_dimensions * math.log(2))
    nll = -torch.log_softmax(likelihoods / temperature, dim=1).gather(1, batch.labels[:, None])[:, 0]
    chosen = {1.0: [0, 1, 2, 3, 4, 5], 0.5: [0, 2, 4], 0.01: [0]}[share]
    expected = bits + weight * nll[chosen].mean()

    assert loss.bits_per_dim.item() == pytest.approx(bits.item(), rel=1e-6)
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    mine, theirs = gradients(model, loss.total), gradients(model, expected)
    for name in mine:
        assert torch.allclose(mine[name], theirs[name].float(), rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_estimated_sum_is_unbiased(count: int) -> None:
    """Averaged over many draws, p(c) + (C - 1)/m * sum over those drawn is the sum over all five classes."""
    n, nr_classes = 40_000, 5
    generator = torch.Generator().manual_seed(0)
    log_likelihoods = torch.randn(nr_classes, generator=generator, dtype=torch.float64)
    labels = torch.full((n,), 2)
    drawn = wrong_classes(labels, torch.arange(n), nr_classes=nr_classes, count=count, seed=0)
    margins = log_likelihoods[drawn] - log_likelihoods[2]
    sums = posterior_nll(margins, (nr_classes - 1) / count).exp()  # sum_c' p(x | c') / p(x | c)
    exact = (log_likelihoods - log_likelihoods[2]).exp().sum()
    deviation = float(sums.std()) / math.sqrt(n)
    assert abs(float(sums.mean() - exact)) < 4 * deviation


@pytest.mark.parametrize("count", [1, 2, 4])
def test_wrong_classes_are_wrong_different_and_equally_likely(count: int) -> None:
    n = 20_000
    labels = torch.arange(n) % 5
    drawn = wrong_classes(labels, torch.arange(n), nr_classes=5, count=count, seed=1)
    assert drawn.shape == (n, count)
    assert not bool((drawn == labels[:, None]).any())
    assert all(len(set(row)) == count for row in drawn[:200].tolist())
    pairs = torch.bincount((labels[:, None] * 5 + drawn).flatten(), minlength=25).view(5, 5).double()
    assert float(pairs.fill_diagonal_(n * count / 20).std()) < 0.05 * n * count / 20
    later = wrong_classes(labels[7:], torch.arange(7, n), nr_classes=5, count=count, seed=1)
    assert torch.equal(later, drawn[7:])  # by the image's number, whatever the batch
    assert count == 4 or not torch.equal(
        drawn, wrong_classes(labels, torch.arange(n), nr_classes=5, count=count, seed=2)
    )


def test_the_classes_of_an_image_see_the_same_dropout(make_model: Callable[..., PixelCNN]) -> None:
    """Of a network that does not look at its class, the posterior is uniform: dropout must not tell classes apart."""
    model = make_model(dropout=0.5).train()
    with torch.no_grad():
        model.early_fusion.z.zero_()  # type: ignore[union-attr]
        model.class_embedding.weight.fill_(0.5)  # type: ignore[union-attr]
    for count in (1, 2):
        options = {"discriminative_weight": 1.0, "discriminative_share": 0.6, "discriminative_classes": count}
        loss = make_objective(model, **options)(model, make_batch(7), 0, 7)
        assert (loss.total - loss.bits_per_dim).item() == pytest.approx(math.log(3), abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("sizes", [(3, 3, 1), (1, 1, 5), (7,)])
def test_parts_add_up_to_the_whole(make_model: Callable[..., PixelCNN], weight: float, sizes: tuple[int, ...]) -> None:
    model, batch = make_model(dropout=0.0).train(), make_batch(7, first=100)
    objective = make_objective(model, discriminative_weight=weight, discriminative_share=0.4)
    whole = objective(model, batch, 100, 7)
    images, labels = batch.images.split(sizes), batch.labels.split(sizes)
    firsts = [100 + sum(sizes[:i]) for i in range(len(sizes))]
    parts = [objective(model, Batch(*part), 100, 7) for part in zip(images, labels, firsts, strict=True)]
    for one, others in (
        (whole.total, [part.total for part in parts]),
        (whole.bits_per_dim, [part.bits_per_dim for part in parts]),
    ):
        assert sum(other.item() for other in others) == pytest.approx(one.item(), rel=1e-6)
    expected = gradients(model, objective(model, batch, 100, 7).total)
    found = gradients(model, sum((part.total for part in parts), torch.zeros(())))
    assert all(torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-6) for name in expected)


def test_large_differences_are_finite() -> None:
    margins = torch.tensor([[1e5], [-1e5], [0.0]], dtype=torch.float64, requires_grad=True)
    nll = posterior_nll(margins, 3.0)
    assert nll.tolist() == pytest.approx([1e5 + math.log(3), 0.0, math.log(4)])
    nll.sum().backward()
    assert margins.grad is not None
    assert margins.grad[:, 0].tolist() == pytest.approx([1.0, 0.0, 0.75])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"early_fusion": "none", "film": "none"}, "no classes"),
        ({"classes": ("cat",)}, "1 class"),
        ({"discriminative_classes": 2}, "`discriminative_classes` 2 .* at most 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    fit: Fit, tmp_path: Path, changes: dict[str, Any], message: str, train_set: Any
) -> None:
    if "classes" in changes:
        only = train_set.select(torch.nonzero(train_set.labels == 0)[:, 0])
        only = type(only)(only.images, only.labels, ("cat",), "toys", "train")
        changes = {**changes, "images": only, "validation": only, "class_counts": (10,)}
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path / "run", discriminative_weight=0.1, **changes)
    assert not (tmp_path / "run").exists()
    assert fit(tmp_path / "run", epochs=1, **changes).epochs  # without the term it is nobody's business


def test_a_weight_of_zero_changes_nothing_in_a_training(
    fit: Fit, state: State, differences: Callable[..., list[str]], tmp_path: Path
) -> None:
    fit(tmp_path / "plain", epochs=1)
    fit(tmp_path / "zero", epochs=1, discriminative_weight=0.0, discriminative_share=1.0)
    fit(tmp_path / "some", epochs=1, discriminative_weight=0.5)
    assert differences(state(tmp_path / "plain"), state(tmp_path / "zero")) == []
    assert "model.out.v" in differences(state(tmp_path / "plain"), state(tmp_path / "some"))


def test_the_term_lowers_the_posterior_nll(fit: Fit, tmp_path: Path) -> None:
    options = {"epochs": 2, "lr": 0.006, "lr_decay": 1.0, "dropout": 0.0, "ema_decay": 0.0}
    nll = {
        weight: fit(tmp_path / str(weight), discriminative_weight=weight, discriminative_share=1.0, **options)
        .epochs[-1][0]
        .nll_posterior
        for weight in (0.0, 1.0)
    }
    assert nll[1.0] < nll[0.0]
