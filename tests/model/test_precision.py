"""Training in bfloat16: fast inside the network, and a gradient that points where that of float32 does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cpixelcnn.datasets.drawings import generate
from cpixelcnn.device import inner_precision
from cpixelcnn.model.fused import definitions_only
from cpixelcnn.model.layers import WeightNormConv
from cpixelcnn.model.network import PixelCNN, pixel_log_probs
from cpixelcnn.runs.models import load


def gradient(model: PixelCNN, images: Tensor, labels: Tensor, precision: str) -> Tensor:
    model.zero_grad()
    (-pixel_log_probs(model, images, labels, precision=precision).sum()).backward()
    return torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])


def test_the_gradient_of_a_trained_model_keeps_its_direction() -> None:
    """Where scales are a fraction of a grey level, weights rounded at both ends turn it (cosine 0.06 to 0.6)."""
    model = load("tiny").requires_grad_().train()
    images, labels = map(torch.from_numpy, generate("train", 4))
    exact = gradient(model, images, labels, "float32")
    rounded = gradient(model, images, labels, "bfloat16")
    assert F.cosine_similarity(exact, rounded, dim=0) > 0.97
    assert float(rounded.norm() / exact.norm()) == pytest.approx(1.0, abs=0.15)


def test_both_ends_stay_in_float32_and_all_between_them_does_not(make_model: Callable[..., PixelCNN]) -> None:
    model = make_model()
    kinds: dict[str, tuple[torch.dtype, torch.dtype]] = {}
    for name, module in model.named_modules():
        if isinstance(module, WeightNormConv):
            module.register_forward_hook(
                lambda _, inputs, output, name=name: kinds.update({name: (inputs[0].dtype, output.dtype)})
            )
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    with definitions_only():
        pixel_log_probs(model, images, torch.tensor([0, 1]), precision="bfloat16")
    ends = {"u_in", "ul_in_above", "ul_in_left", "out"}
    assert ends < set(kinds)
    for name, (_, output) in kinds.items():
        assert output == (torch.float32 if name in ends else torch.bfloat16), name
    assert all(kinds[name][0] == torch.float32 for name in ends)


def test_the_precision_within_the_network_is_that_of_autocast_or_of_the_input() -> None:
    x = torch.zeros(1, dtype=torch.float64)
    assert inner_precision(x) == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert inner_precision(x) == torch.bfloat16
