"""Ancestral sampling: from the seeds alone, from the model's distribution, and the inverse of the likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from cpixelcnn.errors import ConfigError, DataError, NonFiniteError
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.randomness import derive_seed
from cpixelcnn.sampling.options import SAMPLERS, SamplingOptions
from cpixelcnn.sampling.pixel_rules import MixtureSampler
from cpixelcnn.sampling.plan import plan_samples
from cpixelcnn.sampling.sample import draw, draw_noise, sample

LABELS = [0, 1, 2, 2, 1, 0, 1]
GUIDED = SamplingOptions(guidance=1.0)
FUSIONS = [("vector", "linear"), ("template", "none"), ("none", "none")]


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PixelCNN]) -> PixelCNN:
    return make_model()


# --- Seeds ----------------------------------------------------------------------------------------------------------


def test_result(model: PixelCNN) -> None:
    samples = sample(model, LABELS, seed=5)
    assert samples.images.shape == (7, 3, 4, 4)
    assert samples.images.dtype == torch.uint8
    assert samples.labels.tolist() == LABELS
    assert samples.seeds == tuple(derive_seed(5, "sample", i) for i in range(7))
    assert samples.seconds > 0
    assert len(samples.images.unique()) > 20


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_same_seed_same_images_whatever_the_batch_size(batch_size: int, model: PixelCNN) -> None:
    expected = sample(model, LABELS, seed=5).images
    assert torch.equal(sample(model, LABELS, seed=5, batch_size=batch_size).images, expected)


def test_image_is_made_again_from_its_seed_and_class_alone(model: PixelCNN) -> None:
    samples = sample(model, LABELS, seed=5)
    for i in (0, 3, 6):
        again = sample(model, [LABELS[i]], seeds=[samples.seeds[i]])
        assert torch.equal(again.images[0], samples.images[i])
        assert again.seeds == (samples.seeds[i],)
    order = [4, 1, 6]
    again = sample(model, [LABELS[i] for i in order], seeds=[samples.seeds[i] for i in order], batch_size=2)
    assert torch.equal(again.images, samples.images[order])


def test_first_images_do_not_depend_on_how_many_there_are(model: PixelCNN) -> None:
    assert torch.equal(sample(model, LABELS[:3], seed=5).images, sample(model, LABELS, seed=5).images[:3])


def test_different_seeds_and_classes_give_different_images(model: PixelCNN) -> None:
    images = sample(model, [0] * 6, seed=0).images
    assert len(images.flatten(1).unique(dim=0)) == 6
    assert not torch.equal(sample(model, [0] * 6, seed=1).images, images)
    of_each_class = sample(model, [0, 1, 2], seeds=[9, 9, 9]).images
    assert len(of_each_class.flatten(1).unique(dim=0)) == 3


def test_neither_reads_nor_moves_the_global_random_state(model: PixelCNN) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = sample(model, [0], seed=3).images
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(sample(model, [0], seed=3).images, first)


def test_noise(model: PixelCNN) -> None:
    noise = draw_noise(model.config, 17)
    assert noise.shape == (4, 4, 4)
    assert bool(((noise >= 0) & (noise < 1)).all())
    assert torch.equal(draw_noise(model.config, 17), noise)
    assert not torch.equal(draw_noise(model.config, 18), noise)


# --- The model's distribution ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("image_channels", "size"), [(1, (3, 5)), (3, (4, 4))])
@pytest.mark.parametrize(("early_fusion", "film"), FUSIONS)
def test_sampling_inverts_the_likelihood(
    early_fusion: str,
    film: str,
    image_channels: int,
    size: tuple[int, int],
    sampler: str,
    make_model: Callable[..., PixelCNN],
) -> None:
    """The finished image's parameters and the same noise give the image back: each pixel saw just those before it."""
    model = make_model(
        early_fusion=early_fusion,
        film=film,
        image_channels=image_channels,
        image_height=size[0],
        image_width=size[1],
    )
    samples = sample(model, LABELS, seed=1, options=SamplingOptions(sampler))
    noise = torch.stack([draw_noise(model.config, seed) for seed in samples.seeds])
    with torch.no_grad():
        distribution = model.distribution(samples.images, samples.labels if model.config.conditional else None)
    assert torch.equal(distribution.sample(noise), samples.images)
    other = model.distribution(samples.images ^ 255, samples.labels if model.config.conditional else None)
    assert not torch.equal(other.sample(noise), samples.images), "the image matters"


@pytest.fixture
def make_grey_model(make_model: Callable[..., PixelCNN]) -> Callable[[int, int], PixelCNN]:
    """A model of tiny grey images whose values spread over the whole range."""

    def make(height: int, width: int) -> PixelCNN:
        model = make_model(seed=4, image_channels=1, image_height=height, image_width=width)
        with torch.no_grad():  # weights, means and log-scales of two components
            model.out.b.copy_(torch.tensor([0.0, 0.0, -0.2, 0.3, -1.8, -2.0]))
            model.out.g.copy_(torch.tensor([0.5, 0.5, 2.0, 2.0, 0.2, 0.2]))
        return model

    return make


def chi_square(values: Tensor, probabilities: Tensor) -> float:
    """p-value of values (n,) in 0..255 against p(v), (256,), in 16 bins of equal probability (or nearly)."""
    edges = probabilities.cumsum(0)
    bins = ((edges - probabilities / 2) * 16).long().clamp(max=15)
    observed = torch.bincount(bins[values.long()], minlength=16).double()
    expected = torch.bincount(bins, weights=probabilities, minlength=16)
    used = expected > 0
    assert int(used.sum()) >= 3
    assert not observed[~used].any()
    return float(chisquare(observed[used].numpy(), (expected[used] / expected.sum() * len(values)).numpy()).pvalue)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_have_the_models_frequencies(sampler: str, make_grey_model: Callable[[int, int], PixelCNN]) -> None:
    """First pixel, and the second given that the first is dark: against probabilities summed over all first pixels."""
    model = make_grey_model(2, 2)
    label, count = 2, 2500
    images = sample(model, [label] * count, seed=11, batch_size=count, options=SamplingOptions(sampler)).images

    every_first = torch.zeros(256, 1, 2, 2, dtype=torch.uint8)
    every_first[:, 0, 0, 0] = torch.arange(256)
    with torch.no_grad():
        probabilities = model.distribution(every_first, torch.full((256,), label)).value_log_probs(0, every_first).exp()
    first = probabilities[0, :, 0, 0].double()
    second_given_first = probabilities[:, :, 0, 1].double()  # (256 firsts, 256 seconds)

    assert chi_square(images[:, 0, 0, 0], first) > 1e-4
    # "Dark" is the lower half by probability.
    dark = first.cumsum(0) <= 0.5
    given_dark = (first[dark] @ second_given_first[dark]) / first[dark].sum()
    given_bright = (first[~dark] @ second_given_first[~dark]) / first[~dark].sum()
    is_dark = dark[images[:, 0, 0, 0].long()]
    assert 500 < int(is_dark.sum()) < count - 500
    assert chi_square(images[is_dark, 0, 0, 1], given_dark) > 1e-4
    assert chi_square(images[~is_dark, 0, 0, 1], given_bright) > 1e-4
    # The test can tell one from the other.
    assert chi_square(images[is_dark, 0, 0, 1], given_bright) < 1e-6


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_classes_have_their_own_frequencies(sampler: str, make_grey_model: Callable[[int, int], PixelCNN]) -> None:
    """In one batch of several classes, each image is drawn from its own."""
    model = make_grey_model(1, 1)
    labels = torch.arange(3000) % 3
    images = sample(model, labels, seed=2, batch_size=1000, options=SamplingOptions(sampler)).images
    blank = torch.zeros(3, 1, 1, 1, dtype=torch.uint8)
    with torch.no_grad():
        probabilities = model.distribution(blank, torch.arange(3)).value_log_probs(0, blank).exp()[:, :, 0, 0].double()
    for drawn_for in range(3):
        for label in range(3):
            p_value = chi_square(images[labels == drawn_for, 0, 0, 0], probabilities[label])
            assert (p_value > 1e-4) == (drawn_for == label)


def test_samples_score_as_the_model_expects(make_grey_model: Callable[[int, int], PixelCNN]) -> None:
    """Mean of -log p of a model's own samples against the entropy of a 1 x 1 image."""
    model = make_grey_model(1, 1)
    samples = sample(model, [1] * 2000, seed=3, batch_size=2000)
    blank = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    with torch.no_grad():
        scores = -model.log_prob(samples.images, samples.labels)
        log_probs = model.distribution(blank, torch.tensor([1])).value_log_probs(0, blank)[0, :, 0, 0].double()
    entropy = float(-(log_probs.exp() * log_probs).sum())
    assert float(scores.mean()) == pytest.approx(entropy, abs=5 * float(scores.std()) / 2000**0.5)


def test_guided_samples_have_the_guided_frequencies(make_grey_model: Callable[[int, int], PixelCNN]) -> None:
    """First pixel, and the second given that the first is dark, whose marginal has learned from the first."""
    model = make_grey_model(1, 2)
    label, count, weight = 2, 3000, 1.0
    options = SamplingOptions(guidance=weight)
    images = sample(model, [label] * count, seed=11, batch_size=count, options=options).images[:, 0, 0]

    every_first = torch.zeros(256, 1, 1, 2, dtype=torch.uint8)
    every_first[:, 0, 0, 0] = torch.arange(256)
    with torch.no_grad():
        of_classes = torch.stack(
            [
                model.distribution(every_first, torch.full((256,), c)).value_log_probs(0, every_first).exp()[:, :, 0]
                for c in range(3)
            ]
        ).double()  # (classes, 256 firsts, 256 values, pixels)
    first, second = of_classes[:, 0, :, 0], of_classes[..., 1]
    guided_first = first[label] ** (1 + weight) / first.mean(dim=0) ** weight
    guided_first /= guided_first.sum()
    of_marginal = (first[:, :, None] * second).sum(dim=0) / first.sum(dim=0)[:, None]
    guided_second = second[label] ** (1 + weight) / of_marginal**weight
    guided_second /= guided_second.sum(dim=1, keepdim=True)

    assert chi_square(images[:, 0], guided_first) > 1e-4
    assert chi_square(images[:, 0], first[label]) < 1e-6, "the test can tell guided from unguided"
    dark = guided_first.cumsum(0) <= 0.5
    is_dark = dark[images[:, 0].long()]
    assert chi_square(images[is_dark, 1], guided_first[dark] @ guided_second[dark]) > 1e-4
    assert chi_square(images[~is_dark, 1], guided_first[~dark] @ guided_second[~dark]) > 1e-4
    assert chi_square(images[is_dark, 1], guided_first[~dark] @ guided_second[~dark]) < 1e-6


# --- Labels, seeds, progress ----------------------------------------------------------------------------------------


def test_unconditional_model_ignores_labels(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model(early_fusion="none", film="none")
    samples = sample(model, [0, 7, -1], seed=5)
    assert samples.labels.tolist() == [-1, -1, -1]
    assert torch.equal(sample(model, [-1, -1, -1], seed=5).images, samples.images)


@pytest.mark.parametrize("labels", [[0, 3], [-1], torch.tensor([0, 99])])
def test_labels_that_the_model_does_not_know(labels: list[int] | Tensor, model: PixelCNN) -> None:
    with pytest.raises(DataError, match=r"0\.\.2"):
        sample(model, labels)


@pytest.mark.parametrize("seeds", [[], [1], [1, 2, 3]])
def test_not_one_seed_for_each_label(seeds: list[int], model: PixelCNN) -> None:
    with pytest.raises(ConfigError, match=rf"`seeds` must be as many as the labels \(2\), but are {len(seeds)}"):
        sample(model, [0, 1], seeds=seeds)


@pytest.mark.parametrize("labels", [[], torch.zeros(0, dtype=torch.int64)])
def test_no_labels_no_images(labels: list[int] | Tensor, model: PixelCNN) -> None:
    samples = sample(model, labels)
    assert samples.images.shape == (0, 3, 4, 4)
    assert samples.seeds == ()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_progress_grows_and_ends_at_its_total(sampler: str, model: PixelCNN) -> None:
    """It counts the rows of all images: three in each row of a batch of three, one in each of the last batch."""
    calls: list[tuple[int, int]] = []
    sample(
        model,
        LABELS,
        batch_size=3,
        options=SamplingOptions(sampler),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert {total for _, total in calls} == {7 * 4}
    assert [done for done, _ in calls] == [3, 6, 9, 12, 15, 18, 21, 24, 25, 26, 27, 28]


def test_progress_may_stop_the_work(model: PixelCNN) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(model, [0], progress=stop)


# --- Batches --------------------------------------------------------------------------------------------------------


def batches_of(model: PixelCNN, count: int, batch_size: int) -> list[Tensor]:
    return list(draw(model, plan_samples(model.config, [0] * count, seed=5), batch_size=batch_size))


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [3, 3, 3]), (7, 6, [4, 3]), (4, 4, [4]), (2, 64, [2]), (3, 1, [1, 1, 1]), (0, 4, [])],
)
def test_batches_are_nearly_equal(count: int, batch_size: int, sizes: list[int], model: PixelCNN) -> None:
    """So that the memory, which is allocated once for all of them, is no larger than it need be."""
    batches = batches_of(model, count, batch_size)
    assert [len(images) for images in batches] == sizes
    expected = sample(model, [0] * count, seed=5).images
    assert torch.equal(torch.cat([expected[:0], *batches]), expected)


def test_images_are_drawn_as_they_are_asked_for(model: PixelCNN) -> None:
    """A caller may write a batch before the next one is begun."""
    rows: list[int] = []
    batches = draw(
        model,
        plan_samples(model.config, [0] * 4),
        batch_size=2,
        progress=lambda done, total: rows.append(done),
    )
    assert rows == []
    next(batches)
    assert rows == [2, 4, 6, 8]
    next(batches)
    assert rows[-1] == 16


def test_model_is_left_in_its_mode(make_model: Callable[..., PixelCNN]) -> None:
    """Also between two batches; and dropout is off while images are drawn."""
    model = make_model()
    expected = sample(model, LABELS, seed=5).images
    model.train()
    for sampler in SAMPLERS:
        assert torch.equal(sample(model, LABELS, seed=5, options=SamplingOptions(sampler)).images, expected)
        assert model.training
    for _ in draw(model, plan_samples(model.config, LABELS), batch_size=3):
        assert model.training


def test_arithmetic_is_exact_whatever_is_set(model: PixelCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of float32 are not rounded to fewer bits while images are drawn; the setting comes back after it."""
    settings: list[str] = []
    choose = MixtureSampler.choose

    def observed(self: MixtureSampler, parameters: Sequence[Tensor], noise: Tensor) -> Tensor:
        settings.append(torch.get_float32_matmul_precision())
        return choose(self, parameters, noise)

    monkeypatch.setattr(MixtureSampler, "choose", observed)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        sample(model, LABELS, seed=5)
        assert set(settings) == {"highest"}
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


# --- Models that cannot be sampled so -------------------------------------------------------------------------------


class Blurred(PixelCNN):
    """A model of somebody's own, whose network does something else."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(0.5 * x, labels)


def test_a_forward_pass_of_ones_own_is_not_ignored(model: PixelCNN) -> None:
    """The incremental sampler would draw what PixelCNN computes; the naive one draws what the model itself does."""
    own = Blurred(model.config).eval()
    own.load_state_dict(model.state_dict())
    with pytest.raises(ConfigError, match=r"Blurred overrides the forward pass.*naive"):
        sample(own, LABELS)
    images = sample(own, LABELS, seed=5, options=SamplingOptions("naive")).images
    assert not torch.equal(images, sample(model, LABELS, seed=5).images)
    with pytest.raises(ConfigError, match="Blurred overrides the forward pass"):
        sample(model, LABELS, options=GUIDED, unconditional=own)


def test_a_forward_pass_of_an_instance_is_not_ignored(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model()
    model.forward = lambda x, labels=None: x  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="overrides the forward pass"):
        sample(model, LABELS)


def test_weights_that_are_not_finite(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model()
    with torch.no_grad():
        model.out.b[0] = torch.nan
    with pytest.raises(NonFiniteError, match="not finite"):
        sample(model, LABELS)


def test_a_plan_for_another_model(model: PixelCNN, make_model: Callable[..., PixelCNN]) -> None:
    with pytest.raises(ConfigError, match="another configuration"):
        list(draw(model, plan_samples(make_model(image_width=5).config, LABELS)))


# --- Models for guidance --------------------------------------------------------------------------------------------


def test_guidance_of_an_unconditional_model(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model(early_fusion="none", film="none")
    with pytest.raises(ConfigError, match="needs a class-conditional one"):
        sample(model, [0], options=GUIDED)


def test_second_model_with_classes(model: PixelCNN, make_model: Callable[..., PixelCNN]) -> None:
    with pytest.raises(ConfigError, match=r"must be unconditional.*`early_fusion` none"):
        sample(model, [0], options=GUIDED, unconditional=make_model(seed=1))


@pytest.mark.parametrize("other", [{"image_width": 5}, {"image_height": 8}, {"image_channels": 1}])
def test_second_model_of_other_images(
    other: dict[str, int], model: PixelCNN, make_model: Callable[..., PixelCNN]
) -> None:
    unconditional = make_model(early_fusion="none", film="none", **other)
    with pytest.raises(ConfigError, match=r"makes images of .*and the model of \(3, 4, 4\)"):
        sample(model, [0], options=GUIDED, unconditional=unconditional)
