"""The discretized mixture of logistics: it is a distribution, it is the right one, and sampling is its inverse."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from cpixelcnn.model import mixture as likelihood
from cpixelcnn.model.mixture import (
    LOG_SCALE_RANGE,
    PARAMETERS_PER_COMPONENT,
    DiscretizedLogisticMixture,
    quantize,
    scale_pixels,
)

K = 2
VALUES = torch.arange(256, dtype=torch.uint8)
MOST = 1.0 - 2.0**-24  # the largest number that torch.rand returns


def mixture_parameters(
    logits: list[float],
    means: list[list[float]],
    log_scales: list[list[float]],
    coefficients: list[list[float]] | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """One pixel's network output (1, 10K or 3K, 1, 1) from rows of K numbers (one row a channel or coefficient)."""
    rows = [logits, *means, *log_scales, *(coefficients or [])]
    return torch.tensor(rows, dtype=dtype).flatten()[None, :, None, None]


def random_parameters(channels: int, n: int = 1, k: int = 3, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Arbitrary parameters (n, 10k or 3k, 1, 1) with scales of a few grid steps up to the whole range."""
    generator = torch.Generator().manual_seed(seed)
    size = (n, PARAMETERS_PER_COMPONENT[channels], k, 1, 1)
    parameters = spread * torch.randn(size, generator=generator, dtype=torch.float64)
    parameters[:, 1 + channels : 1 + 2 * channels] -= 2.0
    return parameters.flatten(1, 2)


def pixel(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8)[None, :, None, None]


def to_grid(value: int) -> float:
    return value / 127.5 - 1


def value_probabilities(parameters: Tensor, channels: int, channel: int, image: Tensor) -> Tensor:
    """p(x_c = v | channels before it of `image`), (N, 256), of a pixel."""
    return DiscretizedLogisticMixture(parameters, channels).value_log_probs(channel, image)[:, :, 0, 0].exp()


def bin_probability(v: int, mean: float, log_scale: float) -> float:
    """The definition, in double precision and without any care for stability."""
    scale = math.exp(min(max(log_scale, LOG_SCALE_RANGE[0]), LOG_SCALE_RANGE[1]))
    x = v / 127.5 - 1

    def distribution_function(y: float) -> float:
        z = (y - mean) / scale
        return 1 / (1 + math.exp(-z)) if z > -700 else 0.0

    below = 0.0 if v == 0 else distribution_function(x - 1 / 255)
    return (1.0 if v == 255 else distribution_function(x + 1 / 255)) - below


def brute_force(parameters: Tensor, values: tuple[int, ...]) -> float:
    """Probability of a pixel by the equations of Salimans et al. (2017), section 2.2, number by number."""
    channels = len(values)
    rows = parameters.flatten().view(PARAMETERS_PER_COMPONENT[channels], -1).tolist()
    logits, means, log_scales = rows[0], rows[1 : 1 + channels], rows[1 + channels : 1 + 2 * channels]
    x = [v / 127.5 - 1 for v in values]
    normaliser = sum(math.exp(logit) for logit in logits)
    total = 0.0
    for k, logit in enumerate(logits):
        conditional = [means[0][k]]
        if channels == 3:
            alpha, beta, gamma = (math.tanh(row[k]) for row in rows[7:])
            conditional += [means[1][k] + alpha * x[0], means[2][k] + beta * x[0] + gamma * x[1]]
        bins = [bin_probability(v, m, s[k]) for v, m, s in zip(values, conditional, log_scales, strict=True)]
        total += math.exp(logit) / normaliser * math.prod(bins)
    return total


# --- 8-bit values ---------------------------------------------------------------------------------------------------


def test_every_value_survives_the_round_trip() -> None:
    x = scale_pixels(VALUES)
    assert x.dtype == torch.float32
    assert (float(x[0]), float(x[255])) == (-1.0, 1.0)
    torch.testing.assert_close(x.diff(), torch.full((255,), 2 / 255), rtol=1e-4, atol=0)
    assert torch.equal(quantize(x), VALUES.float())
    assert torch.equal(quantize(x + 0.49 * 2 / 255), VALUES.float())
    assert torch.equal(quantize(x - 0.49 * 2 / 255), VALUES.float())


def test_what_lies_outside_goes_to_the_ends() -> None:
    x = torch.tensor([-math.inf, -1e30, -1.2, 1.2, 1e30, math.inf])
    assert quantize(x).tolist() == [0, 0, 0, 255, 255, 255]
    assert scale_pixels(quantize(x)).tolist() == [-1, -1, -1, 1, 1, 1]


def test_rounding_gives_the_numbers_of_the_grid() -> None:
    x = torch.linspace(-1.3, 1.3, 1001)
    grid = scale_pixels(VALUES)
    rounded = scale_pixels(quantize(x))
    assert torch.isin(rounded, grid).all()
    nearest = grid[(x[:, None] - grid).abs().argmin(dim=1)]
    assert float((rounded - nearest).abs().max()) < 1e-6


# --- A distribution -------------------------------------------------------------------------------------------------

numbers = st.floats(-3, 3)
any_log_scale = st.one_of(st.floats(-9, 2), st.sampled_from([-50.0, -7.0, 5.0, 20.0, 50.0]))
any_logit = st.one_of(numbers, st.sampled_from([-1000.0, 0.0, 1000.0]))


def lists(elements: st.SearchStrategy[float], count: int) -> st.SearchStrategy[list[float]]:
    return st.lists(elements, min_size=count, max_size=count)


def pixels_of(channels: int) -> st.SearchStrategy[tuple[Tensor, Tensor]]:
    """Parameters of one pixel with K components, and its values, both ends of the range often among them."""
    coefficients = 3 * K if channels == 3 else 0
    value = st.one_of(st.integers(0, 255), st.sampled_from([0, 255]))
    return st.builds(
        lambda a, b, c, d, v: (torch.tensor(a + b + c + d, dtype=torch.float64)[None, :, None, None], pixel(*v)),
        lists(any_logit, K),
        lists(numbers, channels * K),
        lists(any_log_scale, channels * K),
        lists(numbers, coefficients),
        lists(value, channels),
    )


@pytest.mark.parametrize("channels", [1, 3])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_probabilities_sum_to_one_and_multiply_to_the_likelihood(channels: int, data: st.DataObject) -> None:
    """Each channel's 256 probabilities given the channels before sum to one; their chain is `log_prob`."""
    parameters, image = data.draw(pixels_of(channels))
    mixture = DiscretizedLogisticMixture(parameters, channels)
    chain = torch.zeros((), dtype=torch.float64)
    for channel in range(channels):
        log_probs = mixture.value_log_probs(channel, image)[0, :, 0, 0]
        assert log_probs.dtype == torch.float64
        assert abs(float(log_probs.exp().sum()) - 1) < 1e-12
        chain += log_probs[int(image[0, channel])]
    torch.testing.assert_close(mixture.log_prob(image)[0, 0, 0], chain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("log_scale", [LOG_SCALE_RANGE[0] - 1, LOG_SCALE_RANGE[0], 0.0, *LOG_SCALE_RANGE[1:], 30.0])
@pytest.mark.parametrize("mean", [-40.0, -1.0, 0.00123, 0.5, 1.0, 40.0])
def test_probabilities_sum_to_one_at_extremes(mean: float, log_scale: float) -> None:
    parameters = mixture_parameters([0.0, -300.0], [[mean, -mean]], [[log_scale, log_scale]])
    assert abs(float(value_probabilities(parameters, 1, 0, pixel(0)).sum()) - 1) < 1e-12


@pytest.mark.parametrize(("log_scale", "bound"), [(LOG_SCALE_RANGE[0], 2e-5), (math.log(0.01), 2e-6), (0.0, 3e-7)])
def test_probabilities_in_float32_sum_to_one_as_nearly_as_is_said(log_scale: float, bound: float) -> None:
    """The rounding of x - mu is divided by s: the numbers stand in the module's docstring and in docs/model.md."""
    means = torch.linspace(-1.05, 1.05, 4001)
    parameters = torch.stack([torch.zeros(4001), means, torch.full((4001,), log_scale)], dim=1)[:, :, None, None]
    probabilities = value_probabilities(parameters, 1, 0, torch.zeros(4001, 1, 1, 1, dtype=torch.uint8))
    assert probabilities.dtype == torch.float32
    error = float((probabilities.double().sum(dim=1) - 1.0).abs().max())
    assert bound / 3 < error < bound


@pytest.mark.parametrize("channels", [1, 3])
def test_random_mixtures_sum_to_one(channels: int) -> None:
    parameters = random_parameters(channels, n=64, k=5, spread=2.0)
    images = torch.randint(0, 256, (64, channels, 1, 1), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    for channel in range(channels):
        sums = value_probabilities(parameters, channels, channel, images).sum(dim=1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_agrees_with_the_definition(channels: int, data: st.DataObject) -> None:
    parameters, image = data.draw(pixels_of(channels))
    parameters[:, :K] = parameters[:, :K].clamp(-3, 3)
    expected = brute_force(parameters, tuple(image.flatten().tolist()))
    log_prob = float(DiscretizedLogisticMixture(parameters, channels).log_prob(image))
    if expected > 1e-4:  # where a difference of sigmoids has digits left
        assert log_prob == pytest.approx(math.log(expected), abs=1e-7)
    else:
        assert log_prob < math.log(1e-4) + 1e-7


def test_channels_depend_on_each_other_in_the_precision_of_the_parameters() -> None:
    parameters = torch.tensor([0.0, 0.0, 0.40625, 0.0, 0.0, -6.0, 0.0, 1.0, 0.0, 0.0]).double()
    values = (128, 180, 0)
    log_prob = DiscretizedLogisticMixture(parameters[None, :, None, None], 3).log_prob(pixel(*values))
    assert float(log_prob) == pytest.approx(math.log(brute_force(parameters, values)), abs=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_likelihood_of_an_image_is_that_of_its_pixels(channels: int) -> None:
    """Parameters of one pixel do not reach another, in whichever layout."""
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(2, 3 * PARAMETERS_PER_COMPONENT[channels], 2, 3, generator=generator).double()
    images = torch.randint(0, 256, (2, channels, 2, 3), generator=generator).to(torch.uint8)
    log_probs = DiscretizedLogisticMixture(parameters, channels).log_prob(images)
    assert log_probs.shape == (2, 2, 3)
    values = [DiscretizedLogisticMixture(parameters, channels).value_log_probs(c, images) for c in range(channels)]
    assert values[0].shape == (2, 256, 2, 3)
    for n, row, column in [(0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 0)]:
        own, at = parameters[n, :, row, column], images[n, :, row, column]
        assert float(log_probs[n, row, column]) == pytest.approx(math.log(brute_force(own, tuple(at.tolist()))))


@pytest.mark.parametrize("channels", [1, 3])
def test_channel_log_probs_are_those_of_the_values(channels: int) -> None:
    generator = torch.Generator().manual_seed(5)
    parameters = random_parameters(channels, n=2)
    images = torch.randint(0, 256, (2, channels, 1, 1), generator=generator).to(torch.uint8)
    mixture = DiscretizedLogisticMixture(parameters, channels)
    found = mixture.channel_log_probs(images)
    assert found.shape == images.shape
    for channel in range(channels):
        expected = mixture.value_log_probs(channel, images).gather(1, images[:, channel : channel + 1].long())
        torch.testing.assert_close(found[:, channel : channel + 1], expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.sum(dim=1), mixture.log_prob(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradient_is_that_of_finite_differences(channels: int) -> None:
    parameters = random_parameters(channels, n=2).requires_grad_()
    images = torch.tensor([[0, 200, 91], [130, 255, 17]])[:, :channels, None, None].to(torch.uint8)
    assert torch.autograd.gradcheck(lambda p: DiscretizedLogisticMixture(p, channels).log_prob(images), parameters)


@pytest.mark.parametrize("together", [1, 7, 2**20])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_values_at_once_or_in_pieces(channels: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The value v of the table is the probability of v itself; how many are computed at a time does not matter."""
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(2, 3 * PARAMETERS_PER_COMPONENT[channels], 2, 3, generator=generator).double()
    images = torch.randint(0, 256, (2, channels, 2, 3), generator=generator).to(torch.uint8)
    mixture = DiscretizedLogisticMixture(parameters, channels)
    if channels == 1:
        expected = torch.stack([mixture.log_prob(torch.full_like(images, v)) for v in range(256)], dim=1)
    else:
        expected = mixture.value_log_probs(2, images)
    monkeypatch.setattr(likelihood, "_NUMBERS_AT_ONCE", together * mixture.means[:, 0].numel())
    table = mixture.value_log_probs(channels - 1, images)
    assert table.shape == (2, 256, 2, 3)
    torch.testing.assert_close(table, expected, rtol=1e-12, atol=1e-12)


def test_values_of_the_last_channel_complete_the_likelihood() -> None:
    """At the pixel's own value: log p(r) + log p(g | r) + log p(b | r, g) = log p(r, g, b), at every pixel."""
    generator = torch.Generator().manual_seed(1)
    parameters = torch.randn(2, 30, 3, 2, generator=generator).double()
    images = torch.randint(0, 256, (2, 3, 3, 2), generator=generator).to(torch.uint8)
    mixture = DiscretizedLogisticMixture(parameters, 3)
    chain = sum(mixture.value_log_probs(c, images).gather(1, images[:, c : c + 1].long())[:, 0] for c in range(3))
    torch.testing.assert_close(chain, mixture.log_prob(images), rtol=1e-10, atol=1e-10)


# --- Temperatures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@settings(max_examples=25, deadline=None)
@given(data=st.data(), mixture=st.floats(0.05, 20), scale=st.floats(0.05, 20))
def test_tempered_by_its_formula(channels: int, mixture: float, scale: float, data: st.DataObject) -> None:
    """The same mixture as one made of parameters that are: weights w^(1/T) / sum, log-scales + log T, all else kept."""
    parameters, image = data.draw(pixels_of(channels))
    table = parameters[0, :, 0, 0].view(-1, K).clone()
    powers = table[0].softmax(dim=0) ** (1 / mixture)
    tempered = DiscretizedLogisticMixture(parameters, channels).tempered(mixture, scale)
    torch.testing.assert_close(tempered.log_weights.flatten().exp(), powers / powers.sum(), rtol=1e-9, atol=1e-12)

    # Scales are clamped first and tempered then: compare where the result does not leave the range again.
    clamped = table[1 + channels : 1 + 2 * channels].clamp(*LOG_SCALE_RANGE)
    torch.testing.assert_close(tempered.log_scales.flatten().exp(), clamped.flatten().exp() * scale, rtol=1e-9, atol=0)
    stretched = clamped + math.log(scale)
    if torch.equal(stretched.clamp(*LOG_SCALE_RANGE), stretched):
        table[0], table[1 + channels : 1 + 2 * channels] = table[0] / mixture, stretched
        expected = DiscretizedLogisticMixture(table.flatten()[None, :, None, None], channels)
        torch.testing.assert_close(tempered.log_prob(image), expected.log_prob(image), rtol=1e-6, atol=1e-6)


def test_temperatures_of_one_change_nothing() -> None:
    mixture = DiscretizedLogisticMixture(random_parameters(3), 3)
    assert mixture.tempered(1.0, 1.0) is mixture


@pytest.mark.parametrize("used_before", [False, True])
def test_tempered_has_scales_of_its_own(used_before: bool) -> None:
    """The inverse scales are kept once computed; they must pass to the other neither from here nor from there."""
    parameters = random_parameters(1)
    mixture = DiscretizedLogisticMixture(parameters, 1)
    untouched = DiscretizedLogisticMixture(parameters, 1).log_prob(pixel(100))
    if used_before:
        mixture.log_prob(pixel(100))
    tempered = mixture.tempered(1.0, 3.0)
    torch.testing.assert_close(tempered.inverse_scales, torch.exp(-tempered.log_scales))
    torch.testing.assert_close(tempered.inverse_scales * 3.0, mixture.inverse_scales)
    assert torch.equal(mixture.log_prob(pixel(100)), untouched)
    assert not torch.equal(tempered.log_prob(pixel(100)), untouched)


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
@pytest.mark.parametrize(
    "extreme", [{"log_scale": -60.0}, {"log_scale": 80.0}, {"logit": 1e30}, {"mean": 1e4}], ids=str
)
def test_tempered_stays_finite(temperature: float, extreme: dict[str, float]) -> None:
    """The smallest and largest temperatures that the command line takes, in float32."""
    numbers = {"logit": 0.0, "mean": 0.1, "log_scale": -2.0} | extreme
    parameters = mixture_parameters(
        [numbers["logit"], -numbers["logit"]],
        [[numbers["mean"], 0.2]] * 3,
        [[numbers["log_scale"], -1.0]] * 3,
        [[0.3, -0.1]] * 3,
        torch.float32,
    )
    tempered = DiscretizedLogisticMixture(parameters, 3).tempered(temperature, temperature)
    image = pixel(0, 128, 255)
    assert bool(tempered.log_prob(image).isfinite().all())
    for channel in range(3):
        assert float(tempered.value_log_probs(channel, image).exp().sum()) == pytest.approx(1, abs=1e-4)
    for u in (0.0, 0.5, MOST):
        values = tempered.sample(torch.full((1, 4, 1, 1), u))
        assert bool(tempered.log_prob(values).isfinite().all())


# --- Conditioning between channels ----------------------------------------------------------------------------------


def means_of_channels(coefficients: tuple[float, float, float], image: Tensor) -> list[float]:
    """Expectation of each channel's value given those before, for a single sharp component around grey."""
    rows = [[math.atanh(coefficient)] for coefficient in coefficients]
    parameters = mixture_parameters([0.0], [[0.0]] * 3, [[-5.0]] * 3, rows)
    probabilities = [value_probabilities(parameters, 3, channel, image)[0] for channel in range(3)]
    return [float((row * (VALUES.double() / 127.5 - 1)).sum()) for row in probabilities]


def test_coefficients_are_alpha_beta_gamma_in_this_order() -> None:
    image = pixel(191, 51, 200)
    red, green = 191 / 127.5 - 1, 51 / 127.5 - 1
    assert means_of_channels((0.5, 0.0, 0.0), image) == pytest.approx([0, 0.5 * red, 0], abs=1e-3)
    assert means_of_channels((0.0, 0.5, 0.0), image) == pytest.approx([0, 0, 0.5 * red], abs=1e-3)
    assert means_of_channels((0.0, 0.0, 0.5), image) == pytest.approx([0, 0, 0.5 * green], abs=1e-3)
    expected = [0, -0.3 * red, 0.4 * red + 0.2 * green]
    assert means_of_channels((-0.3, 0.4, 0.2), image) == pytest.approx(expected, abs=1e-3)


def test_conditional_mean_by_its_formula() -> None:
    mixture = DiscretizedLogisticMixture(random_parameters(3, n=4, k=3), 3)
    x = torch.rand(4, 3, 1, 1, dtype=torch.float64) * 2 - 1
    assert mixture.coefficients is not None
    alpha, beta, gamma = (mixture.coefficients[:, i] for i in range(3))
    red, green = x[:, 0:1], x[:, 1:2]
    torch.testing.assert_close(mixture.conditional_mean(0, x), mixture.means[:, 0])
    torch.testing.assert_close(mixture.conditional_mean(1, x), mixture.means[:, 1] + alpha * red)
    torch.testing.assert_close(mixture.conditional_mean(2, x), mixture.means[:, 2] + beta * red + gamma * green)


def test_channels_depend_on_those_before_and_no_others() -> None:
    parameters = random_parameters(3)
    reference = pixel(100, 150, 50)
    for changed, image in enumerate([pixel(220, 150, 50), pixel(100, 20, 50), pixel(100, 150, 250)]):
        for channel in range(3):
            same = torch.equal(
                value_probabilities(parameters, 3, channel, reference),
                value_probabilities(parameters, 3, channel, image),
            )
            assert same == (changed >= channel)


def test_channels_share_the_mixture_indicator() -> None:
    """A red value that only one component can make says which component green comes from."""
    parameters = mixture_parameters([0.0, 0.0], [[-0.5, 0.5]] * 3, [[-6.0, -6.0]] * 3, [[0.0, 0.0]] * 3)
    probabilities = value_probabilities(parameters, 3, 1, pixel(64, 0, 0))[0]
    assert float(probabilities[:128].sum()) == pytest.approx(1, abs=1e-9)
    assert float(value_probabilities(parameters, 3, 0, pixel(64, 0, 0))[0, :128].sum()) == pytest.approx(0.5)


def test_single_channel_has_no_coefficients() -> None:
    mixture = DiscretizedLogisticMixture(random_parameters(1, n=2, k=4), 1)
    assert mixture.coefficients is None
    assert mixture.log_weights.shape == (2, 4, 1, 1)
    assert mixture.means.shape == mixture.log_scales.shape == (2, 1, 4, 1, 1)


# --- Numbers at the edge --------------------------------------------------------------------------------------------

EXTREMES = {
    "benign": {},
    "at the clamp": {"log_scale": LOG_SCALE_RANGE[0]},
    "below the clamp": {"log_scale": -60.0},
    "at the upper clamp": {"log_scale": LOG_SCALE_RANGE[1]},
    "above the upper clamp": {"log_scale": 80.0},
    "far to the left": {"mean": -1e4, "log_scale": -7.0},
    "far to the right": {"mean": 1e4, "log_scale": -7.0},
    "one component dominates": {"logit": 200.0},
    "huge logits": {"logit": 1e30},
    "saturated coefficients": {"coefficient": 1e4},
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("values", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
def test_value_and_gradient_are_finite_in_float32(channels: int, values: int, extreme: dict[str, float]) -> None:
    numbers = {"logit": 0.0, "mean": 0.1, "log_scale": -2.0, "coefficient": 0.3} | extreme
    parameters = mixture_parameters(
        [numbers["logit"], -numbers["logit"]],
        [[numbers["mean"], 0.2]] * channels,
        [[numbers["log_scale"], -1.0]] * channels,
        [[numbers["coefficient"], -0.1]] * 3 if channels == 3 else None,
        torch.float32,
    ).requires_grad_()
    log_prob = DiscretizedLogisticMixture(parameters, channels).log_prob(pixel(*[values] * channels))
    assert log_prob.dtype == torch.float32
    assert bool(log_prob.isfinite().all())
    assert bool((log_prob <= 1e-6).all())
    (gradient,) = torch.autograd.grad(log_prob.sum(), parameters)
    assert bool(gradient.isfinite().all())


def test_improbable_values_keep_their_gradient() -> None:
    """A value in the far tail pulls the mean towards it: nothing is cut off by a threshold."""
    parameters = mixture_parameters([0.0], [[-0.9]], [[-6.0]], dtype=torch.float32).requires_grad_()
    log_prob = DiscretizedLogisticMixture(parameters, 1).log_prob(pixel(250))
    (gradient,) = torch.autograd.grad(log_prob.sum(), parameters)
    assert float(log_prob.detach()) < -500
    assert float(gradient[0, 1]) == pytest.approx(math.exp(6.0), rel=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_float32_agrees_with_float64(channels: int) -> None:
    parameters = random_parameters(channels, n=256, k=5)
    images = torch.randint(0, 256, (256, channels, 1, 1), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    single = DiscretizedLogisticMixture(parameters.float(), channels).log_prob(images)
    double = DiscretizedLogisticMixture(parameters.float().double(), channels).log_prob(images)
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_parameters_are_computed_on_in_float32(dtype: torch.dtype) -> None:
    parameters = random_parameters(3, n=8).to(dtype)
    images = torch.full((8, 3, 1, 1), 77, dtype=torch.uint8)
    low, single = (DiscretizedLogisticMixture(p, 3) for p in (parameters, parameters.float()))
    assert low.log_prob(images).dtype == torch.float32
    assert torch.equal(low.log_prob(images), single.log_prob(images))
    assert torch.equal(low.value_log_probs(2, images), single.value_log_probs(2, images))


# --- Sampling -------------------------------------------------------------------------------------------------------


def draw(parameters: Tensor, channels: int, n: int, seed: int) -> Tensor:
    """n samples (n, C) of one pixel, as a row of n pixels with the same parameters."""
    noise = torch.rand(1, channels + 1, 1, n, generator=torch.Generator().manual_seed(seed))
    images = DiscretizedLogisticMixture(parameters.expand(-1, -1, -1, n), channels).sample(noise)
    assert images.dtype == torch.uint8
    return images[0, :, 0].T


def assert_drawn_from(values: Tensor, probabilities: Tensor) -> None:
    """Chi-square test of values (n,) against p(v), (256,), rare values pooled; fails by chance once in 10^5 seeds."""
    expected = probabilities * len(values)
    observed = torch.bincount(values.long(), minlength=256).double()
    common = expected >= 5
    pooled = [torch.cat([t[common], t[~common].sum()[None]]) for t in (observed, expected)]
    if pooled[1][-1] < 5:  # too rare even together: count them with the last of the others
        pooled = [torch.cat([t[:-2], t[-2:].sum()[None]]) for t in pooled]
    assert chisquare(pooled[0].numpy(), (pooled[1] * (pooled[0].sum() / pooled[1].sum())).numpy()).pvalue > 1e-5


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("channels", [1, 3])
def test_first_channel_is_drawn_from_its_probabilities(channels: int, seed: int) -> None:
    parameters = random_parameters(channels, seed=seed)
    drawn = draw(parameters, channels, 40_000, seed)
    assert_drawn_from(drawn[:, 0], value_probabilities(parameters, channels, 0, pixel(*[0] * channels))[0])


def test_conditional_channels_are_drawn_from_their_probabilities() -> None:
    """Two components that overlap in red and green but follow them in opposite ways."""
    parameters = mixture_parameters(
        [0.3, -0.2],
        [[0.001, 0.006], [0.2, 0.21], [-0.1, 0.1]],
        [[-5.0, -5.3], [-5.0, -5.2], [-2.5, -3.0]],
        [[0.7, -0.9], [0.4, -1.0], [1.1, -0.6]],
    )
    drawn = draw(parameters, 3, 60_000, seed=0)
    red = int(drawn[:, 0].mode().values)
    given_red = drawn[drawn[:, 0] == red]
    assert len(given_red) > 5_000
    assert_drawn_from(given_red[:, 1], value_probabilities(parameters, 3, 1, pixel(red, 0, 0))[0])
    green = int(given_red[:, 1].mode().values)
    given_both = given_red[given_red[:, 1] == green]
    assert len(given_both) > 500
    assert_drawn_from(given_both[:, 2], value_probabilities(parameters, 3, 2, pixel(red, green, 0))[0])


def test_joint_frequencies_follow_the_likelihood() -> None:
    """Shares of whole RGB pixels against `log_prob`, for a mixture so sharp that few pixels are common."""
    parameters = mixture_parameters(
        [0.0, 0.5],
        [[-0.5, 0.5], [0.1, 0.2], [0.0, 0.3]],
        [[-7.0, -6.5]] * 3,
        [[0.5, -0.5], [0.2, 0.1], [0.3, -0.8]],
    )
    drawn = draw(parameters, 3, 40_000, seed=1)
    pixels, counts = drawn.unique(dim=0, return_counts=True)
    common = counts > 300
    assert int(counts[common].sum()) > 20_000
    for values, count in zip(pixels[common], counts[common].tolist(), strict=True):
        p = float(DiscretizedLogisticMixture(parameters, 3).log_prob(values[None, :, None, None]).exp())
        assert abs(count - 40_000 * p) < 5 * math.sqrt(40_000 * p * (1 - p))


def test_channel_is_rounded_before_the_next_depends_on_it() -> None:
    """Red lands 0.4 steps above a value; green, which copies red and adds 0.3 steps, must copy the rounded one."""
    step = 2 / 255
    parameters = mixture_parameters(
        [0.0], [[to_grid(100) + 0.4 * step], [0.3 * step], [0.0]], [[-7.0]] * 3, [[50.0], [0.0], [0.0]]
    )
    noise = torch.full((1, 4, 1, 1), 0.5, dtype=torch.float64)  # the median: each channel at its mean
    values = DiscretizedLogisticMixture(parameters, 3).sample(noise).flatten().tolist()
    assert values[:2] == [100, 100]


def test_first_number_chooses_the_component_by_its_weight() -> None:
    weights = [0.2, 0.5, 0.3]
    logits = [math.log(w) for w in weights]
    parameters = mixture_parameters(logits, [[to_grid(10), to_grid(20), to_grid(30)]], [[-7.0] * 3])
    for u, value in [(0.0, 10), (0.19, 10), (0.21, 20), (0.69, 20), (0.71, 30), (MOST, 30)]:
        noise = torch.tensor([u, 0.5], dtype=torch.float64)[None, :, None, None]
        assert DiscretizedLogisticMixture(parameters, 1).sample(noise).item() == value


def test_component_without_weight_is_never_chosen() -> None:
    means = [[to_grid(10), to_grid(20), to_grid(30)]]
    parameters = mixture_parameters([-1e4, 0.0, -1e4], means, [[-7.0] * 3], dtype=torch.float32)
    for u in (0.0, 0.5, MOST):
        noise = torch.tensor([u, 0.5])[None, :, None, None]
        assert DiscretizedLogisticMixture(parameters, 1).sample(noise).item() == 20


@pytest.mark.parametrize("log_scale", [-20.0, -7.0, -2.0, 3.0, 20.0, 50.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_at_its_ends_gives_values(channels: int, log_scale: float) -> None:
    """u = 0 is the very bottom of each logistic, whatever its mean and scale; the largest u is merely large."""
    parameters = mixture_parameters(
        [0.0, 1.0],
        [[0.9, -0.9]] * channels,
        [[log_scale, log_scale]] * channels,
        [[9.0, -9.0]] * 3 if channels == 3 else None,
        torch.float32,
    )
    mixture = DiscretizedLogisticMixture(parameters, channels)
    for first in (0.0, MOST):
        noise = torch.zeros(1, channels + 1, 1, 1)
        noise[:, 0] = first
        assert mixture.sample(noise).flatten().tolist() == [0] * channels
        noise[:, 1:] = MOST
        highest = mixture.sample(noise)
        assert bool(mixture.log_prob(highest).isfinite().all())
        if log_scale >= 3.0:
            assert highest.flatten().tolist() == [255] * channels


@pytest.mark.parametrize("channels", [1, 3])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_more_noise_never_lowers_the_last_channel(channels: int, data: st.DataObject) -> None:
    parameters, _ = data.draw(pixels_of(channels))
    noise = torch.tensor(data.draw(lists(st.floats(0, MOST), channels + 1)), dtype=torch.float64)
    noise = noise[None, :, None, None].repeat(2, 1, 1, 1)
    noise[1, -1] = (noise[1, -1] + 0.1).clamp(max=MOST)
    low, high = DiscretizedLogisticMixture(parameters.expand(2, -1, -1, -1), channels).sample(noise)[:, -1]
    assert int(low) <= int(high)
