"""How values are chosen: guidance normalised exactly, with the right posterior over the classes; temperatures."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cpixelcnn.evaluation.class_log_probs import class_log_probs
from cpixelcnn.evaluation.classify import posterior
from cpixelcnn.model.mixture import DiscretizedLogisticMixture, scale_pixels
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.sampling.options import SamplingOptions
from cpixelcnn.sampling.pixel_rules import GuidedSampler, MixtureSampler, Temperature, _invert
from cpixelcnn.sampling.sample import sample

CPU = torch.device("cpu")
MOST = 1.0 - 2.0**-24  # the largest number that torch.rand returns
NR_CLASSES = 3
WIDTH = 3  # of images of one row

MakeModel = Callable[..., PixelCNN]


# --- From noise to a value ------------------------------------------------------------------------------------------


def values_at(probabilities: Sequence[float], noise: Sequence[float]) -> list[int]:
    """What `_invert` makes of each noise where the first values have these probabilities and all others none."""
    row = torch.zeros(256)
    row[: len(probabilities)] = torch.tensor(probabilities)
    return _invert(row.log().expand(len(noise), -1), torch.tensor(noise)).tolist()


def test_noise_is_held_by_the_interval_of_its_value() -> None:
    noise = [0.0, 0.24, 0.25, 0.49, 0.5, 0.99, MOST]
    assert values_at([0.25, 0.25, 0.5], noise) == [0, 0, 1, 1, 2, 2, 2]


def test_values_without_probability_are_never_chosen() -> None:
    noise = [0.0, 0.49, 0.5, MOST]
    assert values_at([0.0, 0.0, 0.5, 0.0, 0.5, 0.0], noise) == [2, 2, 4, 4]
    assert values_at([0.0] * 255 + [1.0], noise) == [255] * 4
    assert values_at([1.0], noise) == [0] * 4


@pytest.mark.parametrize("seed", range(5))
def test_ends_of_the_noise_give_the_first_and_last_possible_value(seed: int) -> None:
    """Also where the probabilities do not sum to one in their last bits."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = F.log_softmax(20 * torch.randn(500, 256, generator=generator), dim=1)
    log_probs[torch.rand(500, 256, generator=generator) < 0.2] = -math.inf
    possible = log_probs.double().exp() > 0
    first = possible.int().argmax(dim=1)
    assert torch.equal(_invert(log_probs, torch.zeros(500)).long(), first)
    last = _invert(log_probs, torch.full((500,), MOST)).long()
    assert possible.gather(1, last[:, None]).all()
    above = torch.arange(256) > last[:, None]
    assert float((log_probs.double().exp() * above).sum(dim=1).max()) < 1e-6


# --- Guidance by its definition -------------------------------------------------------------------------------------


def class_parameters(model: PixelCNN, image: Tensor) -> Tensor:
    """Mixture parameters under every class, (classes, P, 1, WIDTH), of an image uint8 (C, 1, WIDTH)."""
    x = scale_pixels(image[None]).to(model.out.b.dtype)
    labels = torch.arange(NR_CLASSES) if model.config.conditional else None
    with torch.no_grad():
        return model(x.expand(NR_CLASSES, -1, -1, -1) if labels is not None else x, labels)


def guided_by_definition(
    model: PixelCNN, unconditional: PixelCNN | None, image: Tensor, label: int, weight: float, at: tuple[int, int]
) -> Tensor:
    """q(v), (256,) float64, of the value of a (column, channel), given all before it of an image (C, 1, WIDTH)."""
    config = model.config
    double = copy.deepcopy(model).double()
    mixture = DiscretizedLogisticMixture(class_parameters(double, image), config.image_channels)
    images = image.expand(NR_CLASSES, -1, -1, -1)
    by_channel = [mixture.value_log_probs(c, images).exp()[:, :, 0] for c in range(config.image_channels)]

    evidence = torch.full((NR_CLASSES,), 1 / NR_CLASSES, dtype=torch.float64)
    for column in range(WIDTH):
        for channel in range(config.image_channels):
            of_classes = by_channel[channel][:, :, column]  # p(v | before, class), (classes, 256)
            if (column, channel) != at:
                evidence = evidence * of_classes[:, int(image[channel, 0, column])]
                continue
            if unconditional is None:
                of_marginal = (evidence[:, None] * of_classes).sum(dim=0) / evidence.sum()
            else:
                parameters = class_parameters(copy.deepcopy(unconditional).double(), image)
                unconditional = DiscretizedLogisticMixture(parameters, config.image_channels)
                of_marginal = unconditional.value_log_probs(channel, image[None]).exp()[0, :, 0, column]
            q = of_classes[label] ** (1 + weight) / of_marginal**weight
            return q / q.sum()
    raise AssertionError


def draw_row(
    model: PixelCNN, unconditional: PixelCNN | None, rule: GuidedSampler, label: int, n: int, at: tuple[int, int]
) -> Tensor:
    """n images (n, C, 1, WIDTH) up to (column, channel), from the same noise but there, where it is evenly spread."""
    channels = model.config.image_channels
    images = torch.zeros(n, channels, 1, WIDTH, dtype=torch.uint8)
    rule.begin(torch.full((n,), label))
    generator = torch.Generator().manual_seed(3)
    for column in range(at[0] + 1):
        if unconditional is None:
            parameters = [class_parameters(model, images[0])[:, :, 0, column].repeat(n, 1)]
        else:
            conditional = class_parameters(model, images[0])[label, :, 0, column]
            parameters = [
                conditional.expand(n, -1),
                class_parameters(unconditional, images[0])[0, :, 0, column].expand(n, -1),
            ]
        noise = torch.rand(channels + 1, generator=generator).repeat(n, 1)
        if column == at[0]:
            noise[:, at[1] + 1] = (torch.arange(n) + 0.5) / n
        images[:, :, 0, column] = rule.choose(parameters, noise)
    return images


@pytest.mark.parametrize("with_second_model", [False, True])
@pytest.mark.parametrize(
    ("image_channels", "at", "weight"),
    [(1, (0, 0), 2.0), (1, (2, 0), 2.0), (3, (0, 1), 2.0), (3, (2, 2), 2.0), (3, (2, 2), 0.0)],
)
def test_guided_probabilities_are_those_of_the_definition(
    image_channels: int, at: tuple[int, int], with_second_model: bool, weight: float, make_model: MakeModel
) -> None:
    """Evenly spread noise makes n q(v) images of value v, to within one: from them q is read off."""
    size = {"image_channels": image_channels, "image_height": 1, "image_width": WIDTH}
    model = make_model(seed=2, **size)
    unconditional = make_model(seed=5, early_fusion="none", film="none", **size) if with_second_model else None
    label, n = 1, 1024
    rule = GuidedSampler(image_channels, Temperature(), weight, n, 0 if with_second_model else NR_CLASSES, CPU)
    images = draw_row(model, unconditional, rule, label, n, at)

    q = guided_by_definition(model, unconditional, images[0], label, weight, at)
    drawn = torch.bincount(images[:, at[1], 0, at[0]].long(), minlength=256)
    assert float((drawn - n * q).abs().max()) < 1.05
    unguided = guided_by_definition(model, unconditional, images[0], label, 0.0, at)
    assert weight == 0 or float((n * (q - unguided)).abs().max()) > 3, "guidance makes a difference here"


def test_temperature_comes_before_guidance(make_model: MakeModel) -> None:
    """Both models are tempered: sharp weights and scales make the mixture's ends unlikely in q, too."""
    size = {"image_channels": 1, "image_height": 1, "image_width": WIDTH}
    model, n = make_model(seed=2, **size), 1024
    temperature = Temperature(mixture=0.5, scale=0.4)
    rule = GuidedSampler(1, temperature, 1.0, n, NR_CLASSES, CPU)
    images = draw_row(model, None, rule, 1, n, (0, 0))

    k = model.config.nr_logistic_mix
    tempered = class_parameters(model, torch.zeros(1, 1, WIDTH, dtype=torch.uint8)).double()
    tempered[:, :k] /= 0.5
    tempered[:, 2 * k :] += math.log(0.4)
    mixture = DiscretizedLogisticMixture(tempered, 1)
    of_classes = mixture.value_log_probs(0, images[:1].expand(3, -1, -1, -1)).exp()[:, :, 0, 0]
    q = of_classes[1] ** 2 / of_classes.mean(dim=0)
    drawn = torch.bincount(images[:, 0, 0, 0].long(), minlength=256)
    assert float((drawn - n * q / q.sum()).abs().max()) < 1.05


# --- The posterior over the classes ---------------------------------------------------------------------------------


def all_parameters(model: PixelCNN, images: Tensor) -> Tensor:
    """Parameters of every image under every class, side by side as the rule takes them: (N * classes, P, H, W)."""
    x = scale_pixels(images).repeat_interleave(NR_CLASSES, 0)
    with torch.no_grad():
        return model(x, torch.arange(NR_CLASSES).repeat(len(images)))


@pytest.mark.parametrize("image_channels", [1, 3])
def test_posterior_is_that_of_the_classifier(
    image_channels: int, make_model: MakeModel, make_images: Callable[..., Tensor]
) -> None:
    """Whether the values were chosen or given: p(c | image), once the whole image is known."""
    model, n = make_model(image_channels=image_channels), 5
    labels = torch.arange(n) % NR_CLASSES
    chooses, observes, mixed = (GuidedSampler(image_channels, Temperature(), 0.7, n, NR_CLASSES, CPU) for _ in range(3))
    noise = torch.rand(n, image_channels + 1, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.zeros(n, image_channels, 4, 4, dtype=torch.uint8)
    for rule in (chooses, observes, mixed):
        (predicted,) = rule.begin(labels)
        assert torch.equal(predicted, torch.arange(NR_CLASSES).repeat(n))
    for row in range(4):
        for column in range(4):
            parameters = [all_parameters(model, images)[:, :, row, column]]
            values = chooses.choose(parameters, noise[:, :, row, column])
            observes.observe(parameters, values)
            if row < 2:
                mixed.observe(parameters, values)
            else:
                assert torch.equal(mixed.choose(parameters, noise[:, :, row, column]), values)
            images[:, :, row, column] = values

    expected = class_log_probs(model, images)
    spread = expected - expected.mean(dim=1, keepdim=True)
    for rule in (chooses, observes, mixed):
        kept = rule.log_posterior.double()
        torch.testing.assert_close(kept - kept.mean(dim=1, keepdim=True), spread, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(
            kept.softmax(dim=1), posterior(model.config, expected, "uniform").probabilities, rtol=0, atol=1e-3
        )
    assert float(spread.abs().max()) > 0.5, "the image tells the classes apart"


def test_posterior_begins_anew_with_every_batch(make_model: MakeModel) -> None:
    rule = GuidedSampler(1, Temperature(), 1.0, 2, NR_CLASSES, CPU)
    model = make_model(image_channels=1)
    images = torch.full((2, 1, 4, 4), 200, dtype=torch.uint8)
    rule.begin(torch.tensor([0, 1]))
    rule.observe([all_parameters(model, images)[:, :, 0, 0]], images[:, :, 0, 0])
    assert len(rule.log_posterior.unique()) > 1
    rule.begin(torch.tensor([0, 1]))
    assert len(rule.log_posterior.unique()) == 1


def test_marginal_model_keeps_no_posterior() -> None:
    rule = GuidedSampler(1, Temperature(), 1.0, 2, 0, CPU)
    labels = torch.tensor([0, 1])
    ours, marginals = rule.begin(labels)
    assert torch.equal(ours, labels)
    assert marginals is None
    rule.observe([torch.zeros(2, 6), torch.zeros(2, 6)], torch.zeros(2, 1, dtype=torch.uint8))
    assert rule.log_posterior.shape == (2, 0)


# --- Guided images --------------------------------------------------------------------------------------------------


def test_no_guidance_is_the_model_bit_for_bit(make_model: MakeModel) -> None:
    model, labels = make_model(), [0, 1, 2, 1]
    unconditional = make_model(seed=9, early_fusion="none", film="none")
    images = sample(model, labels, seed=4).images
    assert torch.equal(sample(model, labels, seed=4, options=SamplingOptions(guidance=0.0)).images, images)
    assert torch.equal(sample(model, labels, seed=4, unconditional=unconditional).images, images)
    assert not torch.equal(sample(model, labels, seed=4, options=SamplingOptions(guidance=1.0)).images, images)


@pytest.mark.parametrize("with_second_model", [False, True])
def test_more_guidance_more_confidence(with_second_model: bool, make_model: MakeModel) -> None:
    """Of the classifier, in the class that the image was drawn for; the mean over 48 images."""
    size = {"image_height": 5, "image_width": 5}
    model = make_model(perturb=0.1, **size)
    unconditional = make_model(perturb=0.1, early_fusion="none", film="none", **size) if with_second_model else None
    labels = torch.arange(48) % NR_CLASSES
    confidences = []
    for weight in (0.0, 1.0, 4.0):
        images = sample(
            model, labels, seed=1, options=SamplingOptions(guidance=weight), unconditional=unconditional
        ).images
        probabilities = posterior(model.config, class_log_probs(model, images), "uniform").probabilities
        confidences.append(float(probabilities.gather(1, labels[:, None]).mean()))
    assert confidences[0] + 0.05 < confidences[1] < confidences[2] - 0.01, confidences


@pytest.mark.parametrize("with_second_model", [False, True])
def test_both_samplers_make_the_same_guided_images(
    with_second_model: bool, make_model: MakeModel, assert_same_but_for_rounding: Callable[..., None]
) -> None:
    """Although both models are in training mode, with dropout: they are sampled from without, and left in it."""
    model = make_model(image_width=5, film="mlp").train()
    unconditional = make_model(seed=3, image_width=5, early_fusion="none", film="none").train()
    images = [
        sample(
            model,
            [0, 2, 1, 1],
            seed=1,
            options=SamplingOptions(sampler=sampler, guidance=1.5),
            unconditional=unconditional if with_second_model else None,
        ).images
        for sampler in ("incremental", "naive")
    ]
    assert_same_but_for_rounding(*images)
    assert model.training
    assert unconditional.training


def test_guided_images_do_not_depend_on_the_batch(
    make_model: MakeModel, assert_same_but_for_rounding: Callable[..., None]
) -> None:
    """Each image has a posterior of its own."""
    model, labels = make_model(), [0, 1, 2, 2, 1, 0, 1]
    options = SamplingOptions(guidance=2.0)
    together = sample(model, labels, seed=1, options=options).images
    assert_same_but_for_rounding(sample(model, labels, seed=1, options=options, batch_size=2).images, together)


# --- Temperatures ---------------------------------------------------------------------------------------------------


def test_temperatures_of_one_are_the_model_bit_for_bit(make_model: MakeModel) -> None:
    model, labels = make_model(), [0, 1, 2, 1]
    images = sample(model, labels, seed=4).images
    for other in ({"mixture_temperature": 1.0, "scale_temperature": 1.0}, {"mixture_temperature": 1}):
        assert torch.equal(sample(model, labels, seed=4, options=SamplingOptions(**other)).images, images)
    for other in ({"mixture_temperature": 0.3}, {"scale_temperature": 0.5}):
        assert not torch.equal(sample(model, labels, seed=4, options=SamplingOptions(**other)).images, images)


def test_temperature_of_the_mixture_chooses_among_components() -> None:
    """Two sharp components of weights 0.2 and 0.8; at T = 1/2 they have 1/17 and 16/17."""
    n = 4096
    parameters = torch.tensor([math.log(0.2), math.log(0.8), -0.5, 0.5, -7.0, -7.0]).expand(n, -1)
    noise = torch.stack([(torch.arange(n) + 0.5) / n, torch.full((n,), 0.5)], dim=1)
    for temperature, share in [(1.0, 0.2), (0.5, 1 / 17), (2.0, 1 / 3), (1e-3, 0.0), (1e3, 0.5)]:
        values = MixtureSampler(1, Temperature(mixture=temperature)).choose([parameters], noise)
        assert float((values < 128).float().mean()) == pytest.approx(share, abs=1e-3)


def test_temperature_of_the_scales_stretches_the_deviations() -> None:
    parameters = torch.tensor([0.0, 0.1, -3.0])[None]
    noise = torch.tensor([[0.5, 0.9]])
    at_mean = 1.1 * 127.5
    deviation = math.exp(-3.0) * math.log(0.9 / 0.1) * 127.5
    for temperature in (0.1, 0.5, 1.0, 3.0):
        values = MixtureSampler(1, Temperature(scale=temperature)).choose([parameters], noise)
        assert float(values) == pytest.approx(at_mean + temperature * deviation, abs=0.5001)


@pytest.mark.parametrize("name", ["mixture_temperature", "scale_temperature"])
def test_low_temperature_gives_less_variety(name: str, make_model: MakeModel) -> None:
    """Of the same pixel in different images of one class."""
    model = make_model(perturb=0.1)
    with torch.no_grad():  # two components that lie apart, of which one is preferred, in every pixel
        model.out.b.view(10, 2)[:4] = torch.tensor([[1.0, 0.0], [-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5]])
        model.out.b.view(10, 2)[4:7] = -3.0
        model.out.g *= 0.1
    deviations = []
    for temperature in (0.1, 0.5, 1.0):
        options = SamplingOptions(**{name: temperature})
        images = sample(model, [1] * 64, seed=0, options=options).images
        deviations.append(float(images.float().std(dim=0).mean()))
    if name == "scale_temperature":  # the components stay apart: what is left is theirs
        assert deviations[0] < deviations[1] < deviations[2]
    else:
        assert deviations[0] < 0.5 * deviations[1] < 0.5 * deviations[2]
