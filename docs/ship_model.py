"""Ship a model, or the text of its card.

    python docs/ship_model.py RUN NAME   # the run's best checkpoint: its moving average in float16, and what it reached
    python docs/ship_model.py NAME       # docs/models/NAME.md anew, into the header of the file that is shipped already

A shipped file has its card in its header, for `cpixelcnn models --card`. The figures of a card come from the file, so
the card is written after it; what was stored for the file (its calibration) stays valid, since no weight changes.
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
from cpixelcnn.storage import file_digest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "src" / "cpixelcnn" / "pretrained"
CARDS = ROOT / "docs" / "models"


def ship(run: str, name: str) -> None:
    """Write pretrained/NAME.safetensors and the entry of NAME in models.json."""
    found = find_model(run)
    config, state = load_weights(found.path)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, data_dir=None))
    halves = {key: tensor.to(torch.float16) for key, tensor in state.items()}
    path = SHIPPED / f"{name}.safetensors"
    save_weights(path, halves, config, card=_card(name))
    if Path(run).is_dir():
        runs = {entry.name: entry for entry in list_models(Path(run).parent) if entry.kind == "run"}
        entry = runs[Path(run).name]
        names = ("accuracy", "bpd", "date", "epochs", "n_images", "split")
        metrics = SHIPPED / SHIPPED_METRICS
        known = json.loads(metrics.read_text(encoding="utf-8"))
        _write(metrics, known | {name: {key: getattr(entry, key) for key in names}})
    print(f"{path.name}: {found.description}; {path.stat().st_size:,} bytes")


def renew_card(name: str) -> None:
    """Write pretrained/NAME.safetensors again with the card that there is now."""
    path = SHIPPED / f"{name}.safetensors"
    before = file_digest(path)
    config, state = load_weights(path)
    save_weights(path, state, config, card=_card(name))
    for stored in SHIPPED.glob("*.json"):  # what is kept by the digest of the file
        text = stored.read_text(encoding="utf-8")
        if before in text:
            stored.write_text(text.replace(before, file_digest(path)), encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def _card(name: str) -> str:
    path = CARDS / f"{name}.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    ship(*sys.argv[1:]) if len(sys.argv) > 2 else renew_card(*sys.argv[1:])
