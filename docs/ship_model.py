"""Make a file to ship of a run's best checkpoint: the moving average in float16, without the paths of one machine.

python docs/ship_model.py RUN NAME

What the run reached is written beside it, for `cpixelcnn models`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import torch

from cpixelcnn.model.weights import load_weights, save_weights
from cpixelcnn.runs.listing import SHIPPED_METRICS, list_models
from cpixelcnn.runs.models import find_model

SHIPPED = Path(__file__).resolve().parents[1] / "src" / "cpixelcnn" / "pretrained"
METRICS = SHIPPED / SHIPPED_METRICS


def main(run: str, name: str) -> None:
    """Write pretrained/NAME.safetensors."""
    found = find_model(run)
    config, state = load_weights(found.path)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, data_dir=None))
    halves = {key: tensor.to(torch.float16) for key, tensor in state.items()}
    path = SHIPPED / f"{name}.safetensors"
    save_weights(path, halves, config)
    if Path(run).is_dir():
        (entry,) = (entry for entry in list_models(Path(run).parent) if entry.name == Path(run).name)
        names = ("accuracy", "bpd", "date", "epochs", "n_images", "split")
        metrics = json.loads(METRICS.read_text(encoding="utf-8")) | {name: {key: getattr(entry, key) for key in names}}
        METRICS.write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{path.name}: {found.description}; {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
