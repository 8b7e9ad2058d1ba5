"""The gradient of the log-probability of a bin, which is written out: against automatic and numerical ones."""

from __future__ import annotations

import pytest
import torch

from cpixelcnn.model.mixture import DiscretizedLogisticMixture, _log_bin, _LogBin, scale_pixels

VALUES = torch.tensor([0, 255, 7, 128, 254, 1], dtype=torch.uint8).view(1, 1, 2, 3)
X = scale_pixels(VALUES.double())


def test_against_differences() -> None:
    torch.manual_seed(0)
    mean = torch.randn(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    inverse_scale = torch.randn(1, 4, 2, 3, dtype=torch.float64).mul(2).exp().requires_grad_()
    assert torch.autograd.gradcheck(lambda *arguments: _LogBin.apply(X, *arguments), (mean, inverse_scale))


@pytest.mark.parametrize("log_scale", [-7.0, -3.0, 0.0, 3.0, 20.0])
@pytest.mark.parametrize("mean", [-30.0, -1.0, 0.0, 1.0, 30.0])
def test_against_automatic_ones_far_out(mean: float, log_scale: float) -> None:
    arguments = (
        torch.full((1, 1, 2, 3), mean, dtype=torch.float64, requires_grad=True),
        torch.full((1, 1, 2, 3), -log_scale, dtype=torch.float64).exp().requires_grad_(),
    )
    written_out = torch.autograd.grad(_LogBin.apply(X, *arguments).sum(), arguments)
    automatic = torch.autograd.grad(_log_bin(X, *arguments).sum(), arguments)
    torch.testing.assert_close(written_out, automatic)
    assert all(bool(gradient.isfinite().all()) for gradient in written_out)


@pytest.mark.parametrize("image_channels", [1, 3])
def test_of_all_parameters(image_channels: int) -> None:
    torch.manual_seed(0)
    k = 2
    size = (2, k * {1: 3, 3: 10}[image_channels], 2, 2)
    parameters = torch.randn(size, dtype=torch.float64, requires_grad=True)
    images = torch.randint(0, 256, (2, image_channels, 2, 2), dtype=torch.uint8)
    images[0, 0] = torch.tensor([[0, 255], [3, 4]], dtype=torch.uint8)
    assert torch.autograd.gradcheck(
        lambda parameters: DiscretizedLogisticMixture(parameters, image_channels).log_prob(images), (parameters,)
    )


def test_second_derivatives() -> None:
    """Those of the written-out gradient, against numerical ones."""
    torch.manual_seed(0)
    parameters = torch.randn(1, 20, 2, 3, dtype=torch.float64, requires_grad=True)
    images = VALUES.expand(1, 3, 2, 3)
    assert torch.autograd.gradgradcheck(
        lambda parameters: DiscretizedLogisticMixture(parameters, 3).log_prob(images), (parameters,)
    )


def test_transforms_of_functions() -> None:
    torch.manual_seed(0)
    parameters = torch.randn(1, 6, 2, 3, dtype=torch.float64)

    def log_prob(parameters: torch.Tensor) -> torch.Tensor:
        return DiscretizedLogisticMixture(parameters, 1).log_prob(VALUES).sum()

    hessian = torch.func.jacrev(torch.func.jacrev(log_prob))(parameters)
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(log_prob, parameters))
    assert hessian.any()
