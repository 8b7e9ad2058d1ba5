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
    from cpixelcnn.data.image_set import ImageSet
    from cpixelcnn.data.registry import load_split
    from cpixelcnn.errors import CpixelcnnError
    from cpixelcnn.inference.classification import Classification, classify
    from cpixelcnn.inference.density import BitsPerDim, bits_per_dim
    from cpixelcnn.inference.evaluation import Evaluation, evaluate
    from cpixelcnn.inference.loading import load
    from cpixelcnn.inference.sampling import Samples, sample
    from cpixelcnn.inference.sampling_options import SamplingOptions
    from cpixelcnn.model.likelihood import DiscretizedLogisticMixture
    from cpixelcnn.model.network import PixelCNN
    from cpixelcnn.training.loop import TrainResult, train

_HOMES = {
    "DataConfig": "config",
    "ModelConfig": "config",
    "RunConfig": "config",
    "TrainConfig": "config",
    "ImageSet": "data.image_set",
    "load_split": "data.registry",
    "CpixelcnnError": "errors",
    "Classification": "inference.classification",
    "classify": "inference.classification",
    "BitsPerDim": "inference.density",
    "bits_per_dim": "inference.density",
    "Evaluation": "inference.evaluation",
    "evaluate": "inference.evaluation",
    "load": "inference.loading",
    "Samples": "inference.sampling",
    "sample": "inference.sampling",
    "SamplingOptions": "inference.sampling_options",
    "DiscretizedLogisticMixture": "model.likelihood",
    "PixelCNN": "model.network",
    "TrainResult": "training.loop",
    "train": "training.loop",
}

__all__ = [
    "BitsPerDim",
    "Classification",
    "CpixelcnnError",
    "DataConfig",
    "DiscretizedLogisticMixture",
    "Evaluation",
    "ImageSet",
    "ModelConfig",
    "PixelCNN",
    "RunConfig",
    "Samples",
    "SamplingOptions",
    "TrainConfig",
    "TrainResult",
    "bits_per_dim",
    "classify",
    "evaluate",
    "load",
    "load_split",
    "sample",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
