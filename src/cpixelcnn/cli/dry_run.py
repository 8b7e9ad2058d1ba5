"""`cpixelcnn train --dry-run`: settings, numbers of images and parameters, and an estimate of time."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from cpixelcnn.cli import console

if TYPE_CHECKING:
    import torch

    from cpixelcnn.cli.training_images import TrainingImages
    from cpixelcnn.training.plan import Plan


def print_dry_run(plan: Plan, device: torch.device, images: TrainingImages) -> None:
    from rich.markup import escape

    from cpixelcnn.training.estimate import estimate

    document = plan.config.to_json()
    for decided_by_images in ("classes", "class_counts", "image_channels", "image_height", "image_width"):
        if plan.checkpoint is None:
            del document["model"][decided_by_images]
    with console.activity("measuring three steps"):
        measured = estimate(plan.config, images.train, device)
    document |= {
        "run": str(plan.run),
        "resume": str(plan.checkpoint) if plan.checkpoint else None,
        "device": str(device),
        "images": {
            "train": len(images.train),
            "validation": len(images.validation),
            "test": len(images.test) if images.test else None,
        },
        "estimate": dataclasses.asdict(measured),
    }
    console.print_result(escape(json.dumps(document, indent=2)))
