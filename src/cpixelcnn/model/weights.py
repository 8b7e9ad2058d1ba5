"""Weight files: safetensors whose header carries the configuration, so that a file alone is a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cpixelcnn.config import RunConfig
from cpixelcnn.errors import CheckpointError, ConfigError, first_line
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.storage import share

_WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put before every name


def save_weights(path: Path, state: Mapping[str, Tensor], config: RunConfig) -> None:
    """Write a state dictionary with its configuration; names are those of a plain `PixelCNN`."""
    tensors = {_plain_name(name): tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, path, metadata={"format": "pt", "cpixelcnn_config": json.dumps(config.to_json())})
    share(path)


def load_weights(path: Path) -> tuple[RunConfig, dict[str, Tensor]]:
    """Read a weight file onto the CPU.

    Raises:
        CheckpointError: not a weight file, damaged, another program's, or of a newer format.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {_plain_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; check --model") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({first_line(error)}); choose another"
        ) from None
    document = metadata.get("cpixelcnn_config")
    if document is None:
        raise CheckpointError(
            f"{path} holds weights of some other program (no cpixelcnn configuration); choose another"
        )
    try:
        return RunConfig.from_json(json.loads(document)), state
    except (ConfigError, ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path}: {first_line(error)}") from None


def build_model(config: RunConfig, state: Mapping[str, Tensor], source: Path) -> PixelCNN:
    """A model in evaluation mode with exactly these weights.

    Raises:
        CheckpointError: names or shapes differ from the configuration's network, or a weight is not finite.
    """
    try:
        with torch.random.fork_rng(devices=[]):  # random weights that are replaced at once: keep the user's seed
            model = PixelCNN(config.model)
        model.load_state_dict(dict(state), strict=True)
    except (RuntimeError, MemoryError) as error:
        raise CheckpointError(
            f"{source} does not fit its own configuration ({_second_line(error)}); it is damaged"
        ) from None
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise CheckpointError(f"{source} holds weights that are not finite; choose an earlier checkpoint")
    return model.eval()


def _plain_name(name: str) -> str:
    while name.startswith(_WRAPPER_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _second_line(error: BaseException) -> str:
    lines = str(error).strip().split("\n")
    return lines[min(1, len(lines) - 1)].strip()[:200]
