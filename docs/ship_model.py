"""Ship a model, its figures, and the text of its card, in this order.

    python docs/ship_model.py RUN NAME           # the moving average of a run or checkpoint, in float16
    cpixelcnn eval --model NAME ... --json > eval.json
    python docs/ship_model.py NAME [eval.json]   # what `cpixelcnn models` shows, and docs/models/NAME.md

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
from cpixelcnn.runs.layout import read_manifest
from cpixelcnn.runs.listing import SHIPPED_METRICS
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
    manifest = read_manifest(found.path.parent)
    _note(name, {"epochs": manifest["epoch"], "date": manifest["saved_at"][:10]})
    print(f"{path.name}: {found.description}; {path.stat().st_size:,} bytes")


def renew(name: str, evaluation: str | None = None) -> None:
    """Write pretrained/NAME.safetensors again with the card that there is now, and what an evaluation found."""
    if evaluation is not None:
        found = json.loads(Path(evaluation).read_text(encoding="utf-8"))
        figures = {key: round(found[key], 3) for key in ("accuracy", "bpd")}
        _note(name, figures | {key: found[key] for key in ("n_images", "split")})
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


def _note(name: str, figures: dict[str, object]) -> None:
    path = SHIPPED / SHIPPED_METRICS
    known = json.loads(path.read_text(encoding="utf-8"))
    known[name] = known.get(name, {}) | figures
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    first, *others = sys.argv[1:]
    if others and not others[0].endswith(".json"):
        ship(first, *others)
    else:
        renew(first, *others)
