"""cpixelcnn: class-conditional PixelCNN++ as a toolkit.

The public names are loaded when they are first used, so that importing the package does not import torch.

>>> import cpixelcnn
>>> model = cpixelcnn.load("tiny")
>>> cpixelcnn.sample(model, labels=[0]).images.shape  # doctest: +SKIP
torch.Size([1, 3, 32, 32])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.datasets.registry import load_split
    from cpixelcnn.errors import (
        BadImagesError,
        CheckpointError,
        ConfigError,
        CpixelcnnError,
        DataError,
        Interrupted,
        NonFiniteError,
    )
    from cpixelcnn.evaluation.bits_per_dim import BitsPerDim, bits_per_dim
    from cpixelcnn.evaluation.classify import Classification, classify
    from cpixelcnn.evaluation.evaluate import Evaluation, evaluate
    from cpixelcnn.evaluation.scores import ClassificationScores, mcnemar
    from cpixelcnn.fid.score import FrechetScore, fid_score
    from cpixelcnn.model.mixture import DiscretizedLogisticMixture
    from cpixelcnn.model.network import PixelCNN
    from cpixelcnn.presets import PRESETS, preset, preset_config
    from cpixelcnn.runs.listing import ModelEntry, list_models
    from cpixelcnn.runs.models import load
    from cpixelcnn.sampling.options import SamplingOptions
    from cpixelcnn.sampling.sample import Samples, sample
    from cpixelcnn.training.callbacks import Callback
    from cpixelcnn.training.loop import TrainResult
    from cpixelcnn.training.train import train

_HOMES = {
    "DataConfig": "config",
    "ModelConfig": "config",
    "RunConfig": "config",
    "TrainConfig": "config",
    "ImageSet": "datasets.image_set",
    "load_split": "datasets.registry",
    "BadImagesError": "errors",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "CpixelcnnError": "errors",
    "DataError": "errors",
    "Interrupted": "errors",
    "NonFiniteError": "errors",
    "BitsPerDim": "evaluation.bits_per_dim",
    "bits_per_dim": "evaluation.bits_per_dim",
    "Classification": "evaluation.classify",
    "classify": "evaluation.classify",
    "Evaluation": "evaluation.evaluate",
    "evaluate": "evaluation.evaluate",
    "ClassificationScores": "evaluation.scores",
    "mcnemar": "evaluation.scores",
    "FrechetScore": "fid.score",
    "fid_score": "fid.score",
    "DiscretizedLogisticMixture": "model.mixture",
    "PixelCNN": "model.network",
    "PRESETS": "presets",
    "preset": "presets",
    "preset_config": "presets",
    "ModelEntry": "runs.listing",
    "list_models": "runs.listing",
    "load": "runs.models",
    "SamplingOptions": "sampling.options",
    "Samples": "sampling.sample",
    "sample": "sampling.sample",
    "Callback": "training.callbacks",
    "TrainResult": "training.loop",
    "train": "training.train",
}

__all__ = [
    "PRESETS",
    "BadImagesError",
    "BitsPerDim",
    "Callback",
    "CheckpointError",
    "Classification",
    "ClassificationScores",
    "ConfigError",
    "CpixelcnnError",
    "DataConfig",
    "DataError",
    "DiscretizedLogisticMixture",
    "Evaluation",
    "FrechetScore",
    "ImageSet",
    "Interrupted",
    "ModelConfig",
    "ModelEntry",
    "NonFiniteError",
    "PixelCNN",
    "RunConfig",
    "Samples",
    "SamplingOptions",
    "TrainConfig",
    "TrainResult",
    "bits_per_dim",
    "classify",
    "evaluate",
    "fid_score",
    "list_models",
    "load",
    "load_split",
    "mcnemar",
    "preset",
    "preset_config",
    "sample",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
