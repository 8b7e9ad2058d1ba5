"""Named configurations: the published ones with their hyper-parameters, and small ones for a laptop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cpixelcnn.config import ModelConfig, RunConfig, TrainConfig
from cpixelcnn.errors import ConfigError, did_you_mean

DEFAULT_PRESET = "tiny"


@dataclass(frozen=True)
class Preset:
    """Fields of the configurations that differ from their defaults, and where they come from."""

    description: str
    model: Mapping[str, Any]
    train: Mapping[str, Any]


def _sizes(nr_resnets: int, nr_filters: int, nr_logistic_mix: int, **others: Any) -> dict[str, Any]:
    return {"nr_resnets": nr_resnets, "nr_filters": nr_filters, "nr_logistic_mix": nr_logistic_mix, **others}


# The optimiser of the PyTorch lineage that the course builds on, for what a published model does not say.
_LINEAGE = {"lr": 2e-4, "lr_decay": 0.999995, "beta1": 0.9, "beta2": 0.999}

PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        "1/24/5, minutes on two CPU cores; for the embedded data set",
        _sizes(1, 24, 5, dropout=0.0),
        {
            "epochs": 8,
            "batch_size": 8,
            "lr": 3e-3,
            "lr_decay": 0.99925,
            "beta1": 0.9,
            "beta2": 0.99,
            "ema_decay": 0.995,
            "eval_interval": 4,
        },
    ),
    "small": Preset(
        "1/40/5, the size of several public cpen455 models (69.9 % to 78.6 %); for a laptop and real images",
        _sizes(1, 40, 5, early_fusion="template", dropout=0.0),
        {
            "epochs": 20,
            "batch_size": 8,
            "lr": 2e-3,
            "lr_decay": 0.9997,
            "beta1": 0.9,
            "beta2": 0.999,
            "horizontal_flip": True,
            "eval_interval": 2,
        },
    ),
    "report": Preset(
        "5/108/10, batch 32, 300 epochs: the report's final model (validation 74.4 %, test 72.2 %, FID 32)",
        _sizes(5, 108, 10),
        {**_LINEAGE, "epochs": 300, "batch_size": 32},
    ),
    "report-first": Preset(
        "2/64/5, 100 epochs: the report's first conditional model (27.2 %, FID 34.8), FiLM through two layers",
        _sizes(2, 64, 5, film="mlp"),
        {**_LINEAGE, "epochs": 100, "batch_size": 32},
    ),
    "report-third": Preset(
        "3/140/16, 300 epochs: the report's third model (62 % at its best checkpoint)",
        _sizes(3, 140, 16),
        {**_LINEAGE, "epochs": 300, "batch_size": 32},
    ),
    "wide": Preset(
        "1/160/5 with EMA 0.999 and FiLM from the identity: the best public cpen455 model (test 88.0 %, FID 28.95)",
        _sizes(1, 160, 5),
        {**_LINEAGE, "epochs": 300, "batch_size": 32, "ema_decay": 0.999},
    ),
    "openai": Preset(
        "5/160/10: the sizes and optimiser published for CIFAR-10, there without classes (2.92 bits/dim)",
        _sizes(5, 160, 10, dropout=0.5),
        {
            "epochs": 5000,
            "batch_size": 128,
            "lr": 1e-3,
            "lr_decay": 0.999995,
            "beta1": 0.95,
            "beta2": 0.9995,
            "ema_decay": 0.9995,
            "clip_grad_norm": 0.0,
        },
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: no such preset; suggests the nearest one and lists them all.
    """
    if name in PRESETS:
        return PRESETS[name]
    raise ConfigError(f"`preset` {name!r} does not exist; {did_you_mean(name, PRESETS, 'there are')}")


def preset_config(name: str) -> RunConfig:
    """A preset as a configuration for `cpixelcnn.train`, which fills in sizes and classes from the images.

    Raises:
        ConfigError: no such preset.
    """
    chosen = preset(name)
    return RunConfig(ModelConfig(**chosen.model), train=TrainConfig(**chosen.train))
