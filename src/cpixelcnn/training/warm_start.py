"""A new run that starts from the weights of an old one (`--init-from`), as they are or grown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.model.growth import grow
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import build_model, load_weights
from cpixelcnn.runs.models import find_model

_MAY_GROW = ("nr_resnets", "nr_filters", "nr_orientations")
ARCHITECTURE = (*_MAY_GROW, "nr_logistic_mix", "early_fusion", "film", "class_embedding_dim")
_ROWS_ARE_CLASSES = ("early_fusion.z", "class_embedding.weight")


def read_source(reference: str) -> PixelCNN:
    """The model that `--init-from` names: with the moving average of the weights, where it has one.

    Raises:
        CheckpointError: nothing of that name, or nothing undamaged.
    """
    try:
        found = find_model(reference)
        config, state = load_weights(found.path)
        return build_model(config, state, found.path)
    except CheckpointError as error:
        raise CheckpointError(f"`init_from`: {error}") from None


def inherited_architecture(reference: str, source: ModelConfig, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the source's architecture, grown as asked for; everything else must not contradict them.

    Raises:
        ConfigError: names the first field that does.
    """
    for name in ARCHITECTURE:
        mine, theirs = asked.get(name, getattr(source, name)), getattr(source, name)
        if name in _MAY_GROW and mine < theirs:
            raise ConfigError(
                f"`{name}` {mine} is less than the {theirs} of `init_from` {reference}, and networks grow only; pass "
                f"{theirs} or more, or choose a smaller source"
            )
        if name not in _MAY_GROW and mine != theirs:
            raise ConfigError(
                f"`{name}` {mine} contradicts `init_from` {reference}, which has {theirs}; leave it (or the "
                "preset that sets it) out, or choose a source of the same architecture"
            )
    return {name: asked.get(name, getattr(source, name)) for name in ARCHITECTURE}


def initial_weights(reference: str, model: ModelConfig) -> dict[str, Tensor]:
    """The source's weights for a model of its classes and architecture, grown where `model` is larger.

    Classes are matched by their names: where their order differs, so does that of the weights that belong to them.

    Raises:
        CheckpointError: nothing of that name, or nothing undamaged.
        ConfigError: names what differs.
    """
    network = read_source(reference)
    source = network.config
    inherited_architecture(reference, source, {name: getattr(model, name) for name in ARCHITECTURE})
    if model.image_channels != source.image_channels:
        raise ConfigError(
            f"the images have {model.image_channels} channels, but `init_from` {reference} was made for "
            f"{source.image_channels}; pass `channels` {source.image_channels}, or choose another source"
        )
    if model.conditional and sorted(model.classes) != sorted(source.classes):
        raise ConfigError(
            f"the images have the classes {', '.join(model.classes)}, but `init_from` {reference} knows "
            f"{', '.join(source.classes)}; choose a source of the same classes"
        )
    of_source = dataclasses.replace(model, classes=source.classes, class_counts=source.class_counts)
    state = grow(network, of_source).state_dict()
    if not model.conditional:
        return state
    rows = [source.classes.index(name) for name in model.classes]
    return {name: tensor[rows] if name in _ROWS_ARE_CLASSES else tensor for name, tensor in state.items()}
