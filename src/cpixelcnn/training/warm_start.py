"""A new run that starts from the weights of an old one (`--init-from`); optimiser and clock start afresh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cpixelcnn.config import ModelConfig, RunConfig
from cpixelcnn.errors import CheckpointError, ConfigError
from cpixelcnn.model.weights import build_model, load_weights
from cpixelcnn.runs.models import find_model

ARCHITECTURE = (
    "nr_resnets",
    "nr_filters",
    "nr_logistic_mix",
    "early_fusion",
    "film",
    "class_embedding_dim",
)
_ROWS_ARE_CLASSES = ("early_fusion.z", "class_embedding.weight")


def read_source(reference: str) -> tuple[RunConfig, dict[str, Tensor]]:
    """Configuration and weights of the model that `--init-from` names: the moving average, where it has one.

    Raises:
        CheckpointError: nothing of that name, or nothing undamaged.
    """
    try:
        found = find_model(reference)
        config, state = load_weights(found.path)
        return config, build_model(config, state, found.path).state_dict()
    except CheckpointError as error:
        raise CheckpointError(f"`init_from`: {error}") from None


def inherited_architecture(reference: str, source: ModelConfig, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the source's architecture, which those that are asked for must not contradict.

    Raises:
        ConfigError: names the first field that does.
    """
    for name in ARCHITECTURE:
        mine, theirs = asked.get(name, getattr(source, name)), getattr(source, name)
        if mine != theirs:
            raise ConfigError(
                f"`{name}` {mine} contradicts `init_from` {reference}, which has {theirs}; leave it (or the "
                "preset that sets it) out, or choose a source of the same architecture"
            )
    return {name: getattr(source, name) for name in ARCHITECTURE}


def initial_weights(reference: str, model: ModelConfig) -> dict[str, Tensor]:
    """The source's weights for a model of the same architecture, size of images and classes.

    Classes are matched by their names: where their order differs, so does that of the weights that belong to them.

    Raises:
        CheckpointError: nothing of that name, or nothing undamaged.
        ConfigError: names what differs.
    """
    config, state = read_source(reference)
    source = config.model
    inherited_architecture(reference, source, {name: getattr(model, name) for name in ARCHITECTURE})
    sizes = [(m.image_channels, m.image_height, m.image_width) for m in (model, source)]
    if sizes[0] != sizes[1]:
        mine, theirs = (" x ".join(map(str, size)) for size in sizes)
        raise ConfigError(
            f"the images are {mine} (C x H x W), but `init_from` {reference} was made for {theirs}; pass another "
            "`image_size` or data set, or choose another source"
        )
    if not model.conditional or model.classes == source.classes:
        return state
    if sorted(model.classes) != sorted(source.classes):
        raise ConfigError(
            f"the images have the classes {', '.join(model.classes)}, but `init_from` {reference} knows "
            f"{', '.join(source.classes)}; choose a source of the same classes"
        )
    rows = [source.classes.index(name) for name in model.classes]
    return {name: tensor[rows] if name in _ROWS_ARE_CLASSES else tensor for name, tensor in state.items()}
