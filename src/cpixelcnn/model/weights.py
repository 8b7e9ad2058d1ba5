"""Weight files: safetensors whose header carries the configuration, so that a file alone is a model.

A file that is passed on can have its model card in the header, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cpixelcnn.config import ModelConfig, RunConfig
from cpixelcnn.errors import CheckpointError, ConfigError, first_line
from cpixelcnn.foreign_files import MissingFileError, UnreadableFileError, parse_json, read_safetensors_header
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.storage import share, writing

CONFIG, CARD = "cpixelcnn_config", "cpixelcnn_card"  # in the metadata of the header
_KINDS = {"F64", "F32", "F16", "BF16"}
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put before every name


def save_weights(path: Path, state: Mapping[str, Tensor], config: RunConfig, *, card: str = "") -> None:
    """Write a state dictionary with its configuration; names are those of a plain `PixelCNN`.

    Args:
        path: the file.
        state: the weights.
        config: what they are of.
        card: what to know about the model, in Markdown.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {_plain_name(name): tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    metadata = {"format": "pt", CONFIG: json.dumps(config.to_json())} | ({CARD: card} if card else {})
    with writing(path):
        save_file(tensors, path, metadata=metadata)
        share(path)


def read_config(path: Path) -> RunConfig:
    """The configuration of a weight file that has exactly the tensors of its network; the tensors are not read.

    Raises:
        CheckpointError: not a weight file, damaged, another program's, or of a newer format.
    """
    return _read_header(path)[0]


def _read_header(path: Path) -> tuple[RunConfig, str]:
    """Configuration and model card, of which a file may have none."""
    try:
        metadata, tensors = read_safetensors_header(path)
        if CONFIG not in metadata:
            raise CheckpointError(
                f"{path} holds weights of some other program (no cpixelcnn configuration); choose another"
            )
        config = RunConfig.from_json(parse_json(metadata[CONFIG], path))
    except MissingFileError:
        raise CheckpointError(f"{path} does not exist; check --model") from None
    except UnreadableFileError as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error.reason}); choose another") from None
    except ConfigError as error:
        raise CheckpointError(f"{path}: {first_line(error)}") from None
    shapes = {_plain_name(name): shape for name, (_, shape) in tensors.items()}
    difference = _difference(shapes, network_shapes(config.model))
    if len(shapes) < len(tensors):
        difference = "it has a weight twice"
    if difference:
        raise CheckpointError(f"{path} does not fit its own configuration ({difference}); it is damaged")
    if unusual := sorted({kind for kind, _ in tensors.values()} - _KINDS):
        raise CheckpointError(f"{path} has weights of the type {', '.join(unusual)}; save them in float32")
    return config, metadata.get(CARD, "")


def read_card(path: Path) -> str:
    """The model card in a weight file, in Markdown; empty if it has none.

    Raises:
        CheckpointError: as `read_config`.
    """
    return _read_header(path)[1]


def load_weights(path: Path) -> tuple[RunConfig, dict[str, Tensor]]:
    """Read a weight file onto the CPU. Its header is checked first, so that nothing of a false size is made room for.

    Raises:
        CheckpointError: as `read_config`.
    """
    config = read_config(path)
    try:
        return config, {_plain_name(name): tensor for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({first_line(error)}); choose another"
        ) from None


def build_model(config: RunConfig, state: Mapping[str, Tensor], source: Path) -> PixelCNN:
    """A model in evaluation mode with exactly these weights.

    Raises:
        CheckpointError: names or shapes differ from the configuration's network, or a weight is not finite.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if difference := _difference(shapes, network_shapes(config.model)):
        raise CheckpointError(f"{source} does not fit its own configuration ({difference}); it is damaged")
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise CheckpointError(f"{source} holds weights that are not finite; choose an earlier checkpoint")
    with torch.device("meta"):  # no random weights that are replaced at once
        model = PixelCNN(config.model)
    model.to_empty(device="cpu").load_state_dict(dict(state))
    return model.eval()


@lru_cache(maxsize=8)
def network_shapes(config: ModelConfig) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of the weights of a network, which is not made room for."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in PixelCNN(config).state_dict().items()}


def _difference(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> str:
    """The first difference between weights by name, for people; empty if there is none."""
    for name in sorted(found.keys() | expected.keys()):
        if name not in expected:
            return f"it has {name[:80]}, which its network has not"
        if name not in found:
            return f"it has no {name}"
        if found[name] != expected[name]:
            return f"{name} has the shape {found[name]}, its network's {expected[name]}"
    return ""


def _plain_name(name: str) -> str:
    while name.startswith(_WRAPPER_PREFIXES):
        name = name.split(".", 1)[1]
    return name
