"""The presets: the published sizes, all of them valid, and suggestions for a mistyped name."""

from __future__ import annotations

import pytest

from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.errors import ConfigError
from cpixelcnn.presets import DEFAULT_PRESET, PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    found = preset(name)
    config = RunConfig(ModelConfig(**found.model, classes=("a", "b")), DataConfig(), TrainConfig(**found.train))
    assert RunConfig.from_json(config.to_json()) == config
    sizes = f"{config.model.nr_resnets}/{config.model.nr_filters}/{config.model.nr_logistic_mix}"
    assert found.description.startswith(sizes)


@pytest.mark.parametrize(
    ("name", "sizes", "epochs", "batch_size"),
    [
        ("report", (5, 108, 10), 300, 32),
        ("report-first", (2, 64, 5), 100, 32),
        ("report-third", (3, 140, 16), 300, 32),
        ("wide", (1, 160, 5), 300, 32),
        ("openai", (5, 160, 10), 5000, 128),
    ],
)
def test_published_sizes(name: str, sizes: tuple[int, int, int], epochs: int, batch_size: int) -> None:
    model, train = preset(name).model, preset(name).train
    assert (model["nr_resnets"], model["nr_filters"], model["nr_logistic_mix"]) == sizes
    assert (train["epochs"], train["batch_size"]) == (epochs, batch_size)


def test_the_original_optimiser() -> None:
    train = preset("openai").train
    assert (train["lr"], train["lr_decay"], train["beta1"], train["beta2"]) == (1e-3, 0.999995, 0.95, 0.9995)
    assert train["ema_decay"] == 0.9995
    assert preset("openai").model["dropout"] == 0.5


def test_the_original_network_is_that_preset_without_classes() -> None:
    """`--preset openai --early-fusion none --film none`, as docs/training-runs.md says."""
    chosen = preset("openai")
    config = ModelConfig(**{**chosen.model, "early_fusion": "none", "film": "none"})
    assert not config.conditional
    assert config == ModelConfig(5, 160, 10, "none", "none", dropout=0.5)
    assert chosen.train["clip_grad_norm"] == 0.0


def test_the_default_exists() -> None:
    assert DEFAULT_PRESET in PRESETS


@pytest.mark.parametrize(("typed", "meant"), [("reprot", "report"), ("Tiny", "tiny"), ("open-ai", "openai")])
def test_a_mistyped_name(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preset(typed)
    assert str(caught.value) == f"`preset` {typed!r} does not exist; did you mean {meant!r}?"


def test_a_name_unlike_any() -> None:
    with pytest.raises(ConfigError, match=r"`preset` 'zzz' does not exist; there are: tiny"):
        preset("zzz")
