"""Recomputing activations in the backward pass: the same numbers in less memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cpixelcnn.model.network import PixelCNN


@pytest.mark.parametrize(("early_fusion", "film"), [("vector", "linear"), ("none", "none")])
def test_loss_and_gradients_are_the_same(
    early_fusion: str, film: str, make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]
) -> None:
    """With dropout too, whose masks are drawn again from the same random state."""
    model = make_model(early_fusion=early_fusion, film=film, dropout=0.5).train()
    images, labels = make_images(model, 3), torch.arange(3)
    results = []
    for recomputing in (False, True):
        model.recompute_activations(recomputing)
        model.zero_grad()
        torch.manual_seed(3)
        loss = -model.log_prob(images, labels).mean()
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    for kept, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(kept, recomputed, rtol=1e-4, atol=1e-3)  # summed in another order


def test_keeps_less(make_model: Callable[..., PixelCNN], make_images: Callable[..., Tensor]) -> None:
    model = make_model(nr_resnets=3, image_height=16, image_width=16).train()
    images, labels = make_images(model, 4), torch.zeros(4, dtype=torch.int64)
    sizes = []
    for recomputing in (False, True):
        model.recompute_activations(recomputing)
        kept: dict[int, int] = {}

        def remember(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            model.log_prob(images, labels)
        sizes.append(sum(kept.values()))
    assert sizes[1] < 0.5 * sizes[0]
