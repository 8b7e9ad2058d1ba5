"""A larger network that computes the same function, so that a training can go on from a small one.

Chen, Goodfellow & Shlens 2016, "Net2Net: accelerating learning via knowledge transfer", arXiv 1511.05641. *Wider*:
every channel of the streams is copied, and what reads it divides its weights among the copies. The division is random,
weight by weight: with equal parts the copies would have equal gradients and stay copies for ever. *Deeper*: the new
gated residual blocks are the identity, y = x + a * sigmoid(b) with a = b = 0.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import ConfigError
from cpixelcnn.model.conditioning import ClassTemplateFusion
from cpixelcnn.model.layers import WeightNormConv
from cpixelcnn.model.network import PixelCNN, StreamPair

_MAY_DIFFER = ("nr_filters", "nr_resnets", "nr_orientations", "image_height", "image_width", "dropout", "class_counts")
_GROWING = ("nr_filters", "nr_resnets", "nr_orientations")


def can_grow(source: ModelConfig, target: ModelConfig) -> bool:
    """Whether `grow` makes the one from the other."""
    same = dataclasses.replace(source, **{name: getattr(target, name) for name in _MAY_DIFFER})
    return same == target and all(getattr(target, name) >= getattr(source, name) for name in _GROWING)


def grow(model: PixelCNN, config: ModelConfig, seed: int = 0) -> PixelCNN:
    """A network of a larger configuration that gives every image the likelihood that `model` gives it, to rounding.

    Where the size of the images differs, the network is the same at every pixel, and a class template is resampled to
    the new size; likelihoods at two sizes cannot be equal.

    Args:
        model: stays as it is.
        config: as the model's, with at least as many `nr_filters`, `nr_resnets` and `nr_orientations` and any size of
            images. Turned images are new to it if the model knows upright ones only.
        seed: of the division among copies.

    Raises:
        ConfigError: the configuration is smaller, or differs in something else.
    """
    if not can_grow(model.config, config):
        raise ConfigError(
            "a network grows in `nr_filters`, `nr_resnets`, `nr_orientations` and the size of its images only; "
            "leave the rest as it is"
        )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        wide = _wider(model, config.nr_filters, generator)
        deep = _deeper(wide, config.nr_resnets)
        grown = _like(deep, config)
        state = deep.state_dict()
        if grown.orientation_embedding is not None and deep.orientation_embedding is None:
            weight = grown.orientation_embedding.weight
            weight[1:] = torch.randn(weight[1:].shape, generator=generator).to(weight)
            state["orientation_embedding.weight"] = weight
        if isinstance(grown.early_fusion, ClassTemplateFusion):
            size = (config.image_height, config.image_width)
            if state["early_fusion.z"].shape[2:] != size:
                state["early_fusion.z"] = F.interpolate(
                    state["early_fusion.z"], size, mode="bilinear", align_corners=False, antialias=True
                )
        grown.load_state_dict(state)
    return grown.train(model.training)


def _like(model: PixelCNN, config: ModelConfig) -> PixelCNN:
    return PixelCNN(config).to(device=model.device, dtype=model.out.v.dtype)


def _wider(model: PixelCNN, nr_filters: int, generator: torch.Generator) -> PixelCNN:
    if nr_filters == model.config.nr_filters:
        return model
    wide = _like(model, dataclasses.replace(model.config, nr_filters=nr_filters))
    before = model.config.nr_filters
    for module, target in zip(model.modules(), wide.modules(), strict=True):
        if isinstance(module, WeightNormConv):
            _widen_convolution(module, cast(WeightNormConv, target), before, generator)
            continue
        for parameter, wider in zip(module.parameters(False), target.parameters(False), strict=True):
            wider.copy_(parameter[_copied(len(parameter), len(wider), before).to(parameter.device)])
    return wide


def _widen_convolution(
    conv: WeightNormConv, target: WeightNormConv, nr_filters: int, generator: torch.Generator
) -> None:
    """Copy its output channels, and divide the weights of copied inputs among the copies."""
    of_output, of_input = (1, 0) if conv.transposed else (0, 1)
    outputs, inputs = (
        _copied(conv.v.shape[axis], target.v.shape[axis], nr_filters).to(conv.v.device)
        for axis in (of_output, of_input)
    )
    copied = conv.v.index_select(of_output, outputs)
    divided = copied.index_select(of_input, inputs)
    if len(inputs) > conv.v.shape[of_input]:
        part = 0.5 + torch.rand(divided.shape, generator=generator, dtype=torch.float64).to(divided)
        of_all_copies = torch.zeros_like(copied).index_add(of_input, inputs, part)
        divided = divided * part / of_all_copies.index_select(of_input, inputs)
    target.v.copy_(divided)
    target.g.copy_(conv.g[outputs] * _norms(divided, of_output) / _norms(copied, of_output))
    target.b.copy_(conv.b[outputs])


def _copied(length: int, new_length: int, nr_filters: int) -> Tensor:
    """For each channel of the wider axis, the channel that it is a copy of.

    An axis holds the channels of streams, one or several times over (concat_elu, skips, values and gates, gamma and
    beta), and then grows with them; or something else, and stays as it is.
    """
    if new_length == length:
        return torch.arange(length)
    segments = length // nr_filters
    copies = torch.arange(new_length // segments) % nr_filters
    return torch.cat([segment * nr_filters + copies for segment in range(segments)])


def _norms(v: Tensor, axis: int) -> Tensor:
    norms: Tensor = v.transpose(0, axis).flatten(1).norm(dim=1)
    return norms.clamp_min(torch.finfo(v.dtype).tiny)


def _deeper(model: PixelCNN, nr_resnets: int) -> PixelCNN:
    """The new pairs end each level of the way up, and begin each level of the way down, which read those as skips."""
    deep = _like(model, dataclasses.replace(model.config, nr_resnets=nr_resnets))
    new = nr_resnets - model.config.nr_resnets
    for name, module in model.named_children():
        if name not in ("up_levels", "down_levels"):
            deep.get_submodule(name).load_state_dict(module.state_dict())
    for level, target in zip(model.up_levels, deep.up_levels, strict=True):
        _fill(cast(nn.ModuleList, target), [*cast(nn.ModuleList, level)] + [None] * new)
    for level, target in zip(model.down_levels, deep.down_levels, strict=True):
        _fill(cast(nn.ModuleList, target), [None] * new + [*cast(nn.ModuleList, level)])
    return deep


def _fill(level: nn.ModuleList, pairs: list[nn.Module | None]) -> None:
    """Each pair with the weights of the old one in its place, or, where there is none, as the identity."""
    for target, pair in zip(cast("list[StreamPair]", level), pairs, strict=True):
        if pair is not None:
            target.load_state_dict(pair.state_dict())
            continue
        for block in (target.u, target.ul):
            block.conv_out.g.zero_()
            block.conv_out.b.zero_()
