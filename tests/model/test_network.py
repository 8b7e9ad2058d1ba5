"""The whole network: its size, exact causality, what it refuses, and its state on disk and off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import DataError
from cpixelcnn.model.network import PixelCNN, pixel_log_probs

FUSIONS = [(early, film) for early in ("vector", "template", "none") for film in ("linear", "mlp", "none")]
SIZES = [(1, 1), (1, 6), (7, 1), (5, 7), (9, 6), (4, 8)]


def labels_of(model: PixelCNN, n: int) -> Tensor | None:
    return torch.arange(n) % 3 if model.config.conditional else None


# --- Size -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nr_resnets", "nr_filters", "nr_logistic_mix", "expected"),
    [(1, 40, 5, 899_220), (1, 160, 5, 14_271_780), (5, 108, 10, 24_471_272), (5, 160, 10, 53_659_080)],
)
def test_parameter_counts_of_the_original(
    nr_resnets: int, nr_filters: int, nr_logistic_mix: int, expected: int
) -> None:
    with torch.device("meta"):  # shapes alone, nothing allocated
        model = PixelCNN(ModelConfig(nr_resnets, nr_filters, nr_logistic_mix, early_fusion="none", film="none"))
    assert model.nr_parameters() == expected


def test_parameters_that_each_fusion_adds(make_model: Callable[..., PixelCNN]) -> None:
    def count(early_fusion: str, film: str) -> int:
        return make_model(early_fusion=early_fusion, film=film).nr_parameters()

    plain = count("none", "none")
    nr_blocks = 2 * (3 + 5)  # two streams; one pair a level on the way up, 1 + 2 + 2 on the way down
    assert count("vector", "none") - plain == 3 * 3
    assert count("template", "none") - plain == 3 * 3 * 4 * 4
    assert count("none", "linear") - plain == 3 * 4 + nr_blocks * (4 * 16 + 16)
    assert count("none", "mlp") - plain == 3 * 4 + nr_blocks * (4 * 4 + 4 + 4 * 16 + 16)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("image_channels", "per_component"), [(1, 3), (3, 10)])
def test_output_shape(
    image_channels: int, per_component: int, size: tuple[int, int], make_model: Callable[..., PixelCNN]
) -> None:
    model = make_model(
        image_channels=image_channels, nr_logistic_mix=3, image_height=size[0], image_width=size[1], nr_resnets=2
    )
    x = torch.zeros(2, image_channels, *size)
    assert model(x, torch.tensor([0, 1])).shape == (2, 3 * per_component, *size)


# --- Causality ------------------------------------------------------------------------------------------------------


def gradient_matrix(model: PixelCNN, x: Tensor, labels: Tensor | None) -> Tensor:
    """|d output at pixel i / d input at pixel j|, (HW, HW): one copy of the image for each i, and one backward pass."""
    nr_pixels = x.shape[2] * x.shape[3]
    copies = x.expand(nr_pixels, -1, -1, -1).clone().requires_grad_()
    outputs = model(copies, None if labels is None else labels.expand(nr_pixels)).flatten(2)
    weights = torch.randn(outputs.shape[1], generator=torch.Generator().manual_seed(0))
    at_own_pixel = outputs.diagonal(dim1=0, dim2=2)  # (channels, HW)
    (gradient,) = torch.autograd.grad((at_own_pixel * weights[:, None]).sum(), copies)
    return gradient.flatten(2).abs().sum(dim=1)


def assert_causal(gradients: Tensor, width: int, *, complete: bool) -> None:
    nr_pixels = len(gradients)
    assert bool((gradients.triu() == 0).all()), "an output depends on its own pixel or a later one"
    for i in range(nr_pixels):
        row, column = divmod(i, width)
        above = [(row - 1, c) for c in range(max(column - 1, 0), min(column + 2, width))] if row else []
        left = [(row, column - 1)] if column else []
        for r, c in above + left:
            assert gradients[i, r * width + c] > 0, f"the output at {(row, column)} does not see {(r, c)}"
        if complete:
            assert bool((gradients[i, :i] > 0).all()), f"the output at {(row, column)} has a blind spot"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("image_channels", [1, 3])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_gradient_is_exactly_causal(
    training: bool, image_channels: int, size: tuple[int, int], make_model: Callable[..., PixelCNN]
) -> None:
    height, width = size
    model = make_model(image_channels=image_channels, image_height=height, image_width=width, dropout=0.2)
    torch.manual_seed(0)
    x = 2 * torch.rand(1, image_channels, height, width) - 1
    gradients = gradient_matrix(model.train(training), x, torch.tensor([1]))
    assert_causal(
        gradients, width, complete=not training and width < 8
    )  # of the far corner such a small net sees little


@pytest.mark.parametrize(("early_fusion", "film"), FUSIONS)
def test_every_fusion_is_exactly_causal(early_fusion: str, film: str, make_model: Callable[..., PixelCNN]) -> None:
    model = make_model(early_fusion=early_fusion, film=film, image_height=6, image_width=5, nr_resnets=2)
    labels = torch.tensor([2]) if model.config.conditional else None
    torch.manual_seed(0)
    assert_causal(gradient_matrix(model, 2 * torch.rand(1, 3, 6, 5) - 1, labels), 5, complete=True)


def test_freshly_initialised_network_is_exactly_causal(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model(perturb=0, image_height=8, image_width=8)
    model.initialise(make_images(model, 8), torch.arange(8) % 3)
    torch.manual_seed(0)
    assert_causal(gradient_matrix(model, 2 * torch.rand(1, 3, 8, 8) - 1, torch.tensor([0])), 8, complete=False)


@pytest.mark.parametrize("size", [(5, 7), (9, 6)])
@pytest.mark.parametrize("stream", ["u", "ul"])
def test_each_stream_is_exactly_causal(stream: str, size: tuple[int, int], make_model: Callable[..., PixelCNN]) -> None:
    """u never looks at its own row; ul looks at its own row to the left alone. At every step of full resolution."""
    height, width = size
    model = make_model(image_height=height, image_width=width)
    states: list[Tensor] = []
    for pair in (*model.up_levels[0], *model.down_levels[-1]):
        getattr(pair, stream).register_forward_hook(lambda _, __, output: states.append(output))
    nr_pixels = height * width
    torch.manual_seed(0)
    x = torch.rand(1, 3, height, width).expand(nr_pixels, -1, -1, -1).clone().requires_grad_()
    model(x, torch.zeros(nr_pixels, dtype=torch.int64))
    assert len(states) == 3
    for state in states:
        own = state[:, :, :height, :width].flatten(2).diagonal(dim1=0, dim2=2)
        (gradient,) = torch.autograd.grad((own * torch.randn(len(own), 1)).sum(), x, retain_graph=True)
        seen = (gradient != 0).any(dim=1).view(height, width, height, width)
        for row in range(height):
            assert not seen[row, :, row + 1 :].any()
            for column in range(width):
                if stream == "u":
                    assert not seen[row, column, row].any()
                else:
                    assert not seen[row, column, row, column:].any()
                    assert seen[row, column, row, max(column - 1, 0) : column].all(), "the left neighbour is seen"
                assert seen[row, column, max(row - 1, 0) : row, column].all(), "the pixel above is seen"


@pytest.mark.parametrize("size", [(5, 7), (9, 6)])
@pytest.mark.parametrize("image_channels", [1, 3])
def test_changing_a_pixel_changes_nothing_before_it(
    image_channels: int, size: tuple[int, int], make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """The same in finite steps on 8-bit images: bit for bit the same parameters up to and at the changed pixel."""
    height, width = size
    nr_pixels = height * width
    model = make_model(image_channels=image_channels, image_height=height, image_width=width)
    images = make_images(model, 1).expand(nr_pixels, -1, -1, -1)
    changed = images.clone()
    for j in range(nr_pixels):
        changed[j, :, j // width, j % width] ^= 128
    labels = torch.ones(nr_pixels, dtype=torch.int64)
    with torch.no_grad():
        before, after = (
            torch.cat([m.log_weights[:, None], m.means, m.log_scales], dim=1).flatten(1, 2).flatten(2)
            for m in (model.distribution(images, labels), model.distribution(changed, labels))
        )
    for j in range(nr_pixels):
        same = (before[j] == after[j]).all(dim=0)
        assert bool(same[: j + 1].all()), f"changing pixel {j} changed an earlier one"
        if j + 1 < nr_pixels:
            assert not bool(same[j + 1]), f"changing pixel {j} did not change the next one"


@pytest.mark.parametrize("size", [(5, 7), (4, 4)])
def test_first_pixel_knows_the_class_alone(
    size: tuple[int, int], make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model(image_height=size[0], image_width=size[1])
    images = make_images(model, 4)
    with torch.no_grad():
        means = model.distribution(images, torch.tensor([0, 0, 1, 2])).means[:, :, :, 0, 0]
    assert torch.equal(means[0], means[1])
    assert not torch.allclose(means[0], means[2])
    assert not torch.allclose(means[2], means[3])


# --- Log-probabilities ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("early_fusion", "film"), [("vector", "linear"), ("none", "none")])
def test_log_prob_is_the_sum_over_pixels(
    early_fusion: str, film: str, make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model(early_fusion=early_fusion, film=film, image_height=5, image_width=7)
    images, labels = make_images(model, 3), labels_of(model, 3)
    with torch.no_grad():
        log_probs = model.log_prob(images, labels)
        pixels = model.distribution(images, labels).log_prob(images)
    assert log_probs.dtype == torch.float64
    assert pixels.shape == (3, 5, 7)
    torch.testing.assert_close(log_probs, pixels.double().sum(dim=(1, 2)))


def test_probabilities_of_images_sum_to_those_of_their_first_pixel(make_model: Callable[..., PixelCNN]) -> None:
    """The sum over b of p(a, b | c) is p(a | c), for grey images of 1 x 2 pixels: the chain over pixels is exact."""
    model = make_model(image_channels=1, image_height=1, image_width=2)
    first = torch.arange(0, 256, 17)
    images = torch.cartesian_prod(first, torch.arange(256)).to(torch.uint8)[:, None, None, :]
    with torch.no_grad():
        joint = model.log_prob(images, torch.full((len(images),), 2)).view(len(first), 256).logsumexp(dim=1)
        mixture = model.distribution(images[:1], torch.tensor([2]))
    expected = mixture.value_log_probs(0, images[:1])[0, :, 0, 0][first]
    torch.testing.assert_close(joint.float(), expected, rtol=0, atol=1e-4)


def test_log_prob_of_an_image_does_not_depend_on_its_batch(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """Nothing is cached between batches of different sizes, and images do not see one another."""
    model = make_model()
    images, labels = make_images(model, 7), torch.arange(7) % 3
    with torch.no_grad():
        together = model.log_prob(images, labels)
        alone = torch.cat([model.log_prob(images[i : i + 1], labels[i : i + 1]) for i in range(7)])
        reversed_order = model.log_prob(images.flip(0), labels.flip(0)).flip(0)
    torch.testing.assert_close(alone, together, rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(reversed_order, together, rtol=1e-6, atol=1e-4)


def test_memory_format_does_not_matter(make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]) -> None:
    model = make_model()
    images, labels = make_images(model, 3), torch.arange(3)
    with torch.no_grad():
        before = model.log_prob(images, labels)
        model.to(memory_format=torch.channels_last)
        after = model.log_prob(images.contiguous(memory_format=torch.channels_last), labels)
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-4)


def test_training_mode_differs_by_dropout_alone(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    without, with_dropout = make_model(dropout=0.0), make_model(dropout=0.5)
    with_dropout.load_state_dict(without.state_dict())
    images, labels = make_images(without, 3), torch.arange(3)
    with torch.no_grad():
        expected = without.eval().log_prob(images, labels)
        assert torch.equal(without.train().log_prob(images, labels), expected)
        assert torch.equal(with_dropout.eval().log_prob(images, labels), expected)
        torch.manual_seed(0)
        noisy = with_dropout.train().log_prob(images, labels)
        assert not torch.allclose(noisy, expected, rtol=1e-3)
        torch.manual_seed(0)
        assert torch.equal(with_dropout.log_prob(images, labels), noisy)


# --- What it refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 4, 4), r"uint8.*torch\.float32.*convert"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), "uint8"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), r"\(N, C, H, W\).*\(3, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "3 x 4 x 4.*1 x 4 x 4.*resize"),
        (torch.zeros(2, 3, 8, 4, dtype=torch.uint8), "3 x 4 x 4.*3 x 8 x 4.*resize"),
    ],
)
@pytest.mark.parametrize(("early_fusion", "film"), [("vector", "linear"), ("none", "none")])
def test_images_of_another_kind_are_refused(
    early_fusion: str, film: str, images: Tensor, message: str, make_model: Callable[..., PixelCNN]
) -> None:
    model = make_model(early_fusion=early_fusion, film=film)
    for method in (model.log_prob, model.distribution, model.initialise):
        with pytest.raises(DataError, match=message):
            method(images, torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "needs a label for every image"),
        (torch.tensor([0, -1]), r"0\.\.2.*-1 to 0.*unlabelled"),
        (torch.tensor([0, 3]), r"0\.\.2.*0 to 3"),
        (torch.tensor([0]), "labels must be 2 integers"),
        (torch.tensor([0, 1, 2]), "labels must be 2 integers"),
        (torch.tensor([[0], [1]]), "labels must be 2 integers"),
        (torch.tensor([0.0, 1.0]), r"2 integers.*float32"),
    ],
)
@pytest.mark.parametrize(("early_fusion", "film"), [("vector", "none"), ("template", "linear"), ("none", "mlp")])
def test_labels_that_are_missing_or_wrong_are_refused(
    early_fusion: str,
    film: str,
    labels: Tensor | None,
    message: str,
    make_model: Callable[..., PixelCNN],
    make_images: Callable[..., Tensor],
) -> None:
    model = make_model(early_fusion=early_fusion, film=film)
    for method in (model.log_prob, model.distribution, model.initialise):
        with pytest.raises(DataError, match=message):
            method(make_images(model, 2), labels)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.bool])
@pytest.mark.parametrize(("early_fusion", "film"), [("vector", "none"), ("template", "linear"), ("none", "linear")])
def test_labels_of_other_integer_types_mean_the_same_or_are_refused(
    early_fusion: str,
    film: str,
    dtype: torch.dtype,
    make_model: Callable[..., PixelCNN],
    make_images: Callable[..., Tensor],
) -> None:
    """Not a mask, which is what torch takes uint8 and bool indices for."""
    model = make_model(early_fusion=early_fusion, film=film)
    images, labels = make_images(model, 3), torch.tensor([1, 0, 1])
    with torch.no_grad():
        try:
            log_probs = model.log_prob(images, labels.to(dtype))
        except DataError as error:
            assert "labels" in str(error)  # noqa: PT017 (either outcome is right)
            return
        torch.testing.assert_close(log_probs, model.log_prob(images, labels))


def test_unconditional_model_takes_no_labels(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model(early_fusion="none", film="none", classes=())
    images = make_images(model, 2)
    with torch.no_grad():
        assert torch.equal(model.log_prob(images), model.log_prob(images, torch.tensor([0, 1])))


def test_no_images_have_no_log_probs(make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]) -> None:
    model = make_model()
    assert model.log_prob(make_images(model, 0), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_log_prob_is_computed_in_float32_under_a_callers_autocast(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    model = make_model()
    images, labels = make_images(model, 2), torch.tensor([0, 2])
    expected = model.log_prob(images, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.log_prob(images, labels), expected)
        assert not torch.equal(pixel_log_probs(model, images, labels, precision="bfloat16").sum((1, 2)), expected)


@pytest.mark.parametrize("method", ["log_prob", "distribution"])
def test_float32_is_exact_whatever_the_caller_allows(
    make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor], method: str
) -> None:
    """TF32 on a GPU would move log-likelihoods by dozens of nats."""
    model = make_model()
    seen = []
    model.u_in.register_forward_hook(
        lambda *_: seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
    )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        getattr(model, method)(make_images(model, 2), torch.tensor([0, 2]))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [("highest", False)]
