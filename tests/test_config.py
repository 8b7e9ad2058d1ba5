"""Configurations: their JSON form, their defaults, and values that cannot be."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.config import FORMAT_VERSION, DataConfig, ModelConfig, RunConfig, TrainConfig, field_help
from cpixelcnn.errors import ConfigError

CLASSES = ("cat", "dog")


@pytest.fixture
def config() -> RunConfig:
    model = ModelConfig(nr_filters=7, film="mlp", classes=CLASSES, class_counts=(3, 4), dropout=0.25)
    return RunConfig(
        model, DataConfig(dataset="folder", data_dir="/a [b] ü", image_size=8), TrainConfig(lr=0.1, seed=3)
    )


def test_json_round_trip(config: RunConfig) -> None:
    document = json.loads(json.dumps(config.to_json()))
    assert document["format_version"] == FORMAT_VERSION
    assert document["model"]["classes"] == ["cat", "dog"]
    assert RunConfig.from_json(document) == config


def one_line(text: str) -> str:
    return "".join(text.splitlines())


@given(
    st.builds(
        ModelConfig,
        nr_resnets=st.integers(1, 9),
        nr_filters=st.integers(1, 300),
        early_fusion=st.sampled_from(["vector", "template", "none"]),
        film=st.sampled_from(["linear", "mlp", "none"]),
        dropout=st.floats(0, 1, exclude_max=True),
        classes=st.lists(st.text().map(one_line), min_size=1).map(tuple),
    ),
    st.builds(
        DataConfig,
        data_dir=st.none() | st.text(),
        image_size=st.none() | st.integers(1, 999),
        validation_fraction=st.floats(0, 1, exclude_min=True, exclude_max=True),
        skip_bad=st.booleans(),
    ),
    st.builds(TrainConfig, lr=st.floats(1e-300, 1e300), seed=st.integers(0, 2**80), horizontal_flip=st.booleans()),
)
def test_any_configuration_survives_json(model: ModelConfig, data: DataConfig, train: TrainConfig) -> None:
    config = RunConfig(model, data, train)
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_missing_fields_take_their_defaults() -> None:
    """What an older version wrote loads."""
    config = RunConfig.from_json({"format_version": 1, "model": {"nr_filters": 9, "classes": ["a"]}})
    assert config == RunConfig(ModelConfig(nr_filters=9, classes=("a",)), DataConfig(), TrainConfig())


def test_unknown_fields_are_refused(config: RunConfig) -> None:
    document = config.to_json()
    document["train"]["warp_speed"] = 9
    with pytest.raises(ConfigError, match=r"unknown to this version \(warp_speed\).*upgrade"):
        RunConfig.from_json(document)


def test_a_newer_format_is_refused(config: RunConfig) -> None:
    document = {**config.to_json(), "format_version": FORMAT_VERSION + 1}
    with pytest.raises(ConfigError, match=rf"format {FORMAT_VERSION + 1}, newer than this version's {FORMAT_VERSION}"):
        RunConfig.from_json(document)


@pytest.mark.parametrize("document", [{}, {"format_version": None}, {"format_version": "1"}, {"format_version": 0}])
def test_other_json_is_no_configuration(document: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not a cpixelcnn configuration"):
        RunConfig.from_json(document)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("model", "nr_filters", "40"),
        ("model", "nr_filters", 40.5),
        ("model", "nr_filters", None),
        ("model", "classes", "cat"),
        ("model", "film", 3),
        ("data", "dataset", None),
        ("data", "skip_bad", "yes"),
        ("data", "data_dir", 5),
        ("data", "image_size", "8"),
        ("train", "lr", "fast"),
        ("train", "epochs", [1]),
        ("train", "init_from", 3),
        ("train", "schedule", None),
    ],
)
def test_values_of_another_type_are_refused(config: RunConfig, part: str, field: str, value: object) -> None:
    document = config.to_json()
    document[part][field] = value
    with pytest.raises(ConfigError, match=field):
        RunConfig.from_json(document)


@pytest.mark.parametrize("value", [None, 3, "text", []])
def test_parts_of_another_type_are_refused(config: RunConfig, value: object) -> None:
    with pytest.raises(ConfigError):
        RunConfig.from_json({**config.to_json(), "train": value})


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (ModelConfig, "nr_resnets", 0),
        (ModelConfig, "nr_filters", 0),
        (ModelConfig, "nr_logistic_mix", -1),
        (ModelConfig, "early_fusion", "late"),
        (ModelConfig, "film", "video"),
        (ModelConfig, "class_embedding_dim", 0),
        (ModelConfig, "nr_orientations", 2),
        (ModelConfig, "dropout", 1.0),
        (ModelConfig, "dropout", -0.1),
        (ModelConfig, "dropout", math.nan),
        (DataConfig, "validation_fraction", 0.0),
        (DataConfig, "validation_fraction", 1.0),
        (DataConfig, "validation_fraction", math.nan),
        (DataConfig, "train_size", 3),
        (DataConfig, "crops", -1),
        (DataConfig, "image_size", 0),
        (TrainConfig, "epochs", 0),
        (TrainConfig, "batch_size", 0),
        (TrainConfig, "eval_interval", 0),
        (TrainConfig, "save_interval", 0),
        (TrainConfig, "max_bad_steps", 0),
        (TrainConfig, "eval_images", -1),
        (TrainConfig, "sample_interval", -1),
        (TrainConfig, "clip_grad_norm", -0.5),
        (TrainConfig, "clip_grad_norm", math.nan),
        (TrainConfig, "seed", -1),
        (TrainConfig, "lr", 0.0),
        (TrainConfig, "lr", math.inf),
        (TrainConfig, "lr", math.nan),
        (TrainConfig, "lr_decay", 0.0),
        (TrainConfig, "lr_decay", 1.5),
        (TrainConfig, "lr_decay", math.nan),
        (TrainConfig, "beta1", 1.0),
        (TrainConfig, "beta2", -0.1),
        (TrainConfig, "ema_decay", 1.0),
        (TrainConfig, "precision", "float16"),
        (TrainConfig, "compile", "yes"),
        (TrainConfig, "schedule", "linear"),
        (TrainConfig, "lr_final", 1.5),
        (TrainConfig, "lr_final", math.nan),
        (TrainConfig, "warmup_steps", -1),
        (TrainConfig, "weight_decay", -0.1),
        (TrainConfig, "weight_decay", math.inf),
        (TrainConfig, "weight_decay", 1000.0),
        (TrainConfig, "accumulate", 0),
        (TrainConfig, "shift", -1),
        (TrainConfig, "turned_share", 1.0),
        (TrainConfig, "turned_share", math.nan),
        (TrainConfig, "patience", -1),
        (TrainConfig, "max_minutes", -5.0),
        (TrainConfig, "max_minutes", math.nan),
        (TrainConfig, "discriminative_weight", -0.1),
        (TrainConfig, "discriminative_weight", math.inf),
        (TrainConfig, "discriminative_classes", 0),
        (TrainConfig, "discriminative_share", 0.0),
        (TrainConfig, "discriminative_share", 1.1),
        (TrainConfig, "discriminative_temperature", 0.0),
        (TrainConfig, "discriminative_temperature", math.inf),
        (TrainConfig, "threads", "0"),
        (TrainConfig, "keep_checkpoints", "0"),
        (TrainConfig, "keep_checkpoints", "every:0"),
        (TrainConfig, "keep_checkpoints", "every:x"),
        (TrainConfig, "keep_checkpoints", "every"),
    ],
)
def test_errors_name_the_parameter_and_the_value(kind: type, field: str, value: object) -> None:
    others = {"classes": CLASSES} if kind is ModelConfig else {}
    with pytest.raises(ConfigError) as caught:
        kind(**{field: value, **others})
    assert str(caught.value).startswith(f"`{field}` must be ")
    assert str(value) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("field", "value", "rule"), [("film", "none", "linear or mlp"), ("image_width", 4, "square")])
def test_turned_images_need_film_and_as_many_rows_as_columns(field: str, value: object, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"{rule} where `nr_orientations` is 4"):
        ModelConfig(**{"nr_orientations": 4, field: value})


def test_only_saved_epochs_can_be_kept() -> None:
    assert TrainConfig(save_interval=2, keep_checkpoints="every:6").keep_checkpoints == "every:6"
    with pytest.raises(ConfigError, match=r"every:N with N a multiple of `save_interval` \(2\), but is 'every:5'"):
        TrainConfig(save_interval=2, keep_checkpoints="every:5")


def test_a_conditional_model_needs_classes() -> None:
    """Though not before its images are known."""
    with pytest.raises(ConfigError, match="`classes` must be one name or more"):
        ModelConfig().require_classes()
    with pytest.raises(ConfigError, match="`classes`"):
        RunConfig.from_json({"format_version": 1, "model": {}})
    ModelConfig(early_fusion="none", film="none").require_classes()
    assert not ModelConfig(early_fusion="none", film="none").conditional
    assert ModelConfig(early_fusion="none", classes=CLASSES).conditional
    assert ModelConfig(film="none", classes=CLASSES).conditional


def test_derived_numbers() -> None:
    config = ModelConfig(classes=CLASSES, image_channels=1, image_height=5, image_width=7)
    assert (config.nr_classes, config.nr_dimensions) == (2, 35)


def test_configurations_do_not_change(config: RunConfig) -> None:
    with pytest.raises(FrozenInstanceError):
        config.model.nr_filters = 3  # type: ignore[misc]


@pytest.mark.parametrize("kind", [ModelConfig, DataConfig, TrainConfig])
def test_every_field_is_documented(kind: type) -> None:
    for field in fields(kind):
        text = field_help(kind, field.name)
        assert text[0].isupper() or text.startswith(str(field.default))
        assert text.endswith(".")


@pytest.mark.parametrize("name", ["a\nerror: b", "a\n", "\x85", "a\u2028b", "\r"])
def test_the_name_of_a_class_has_one_line(name: str) -> None:
    """Or it could pass for a line of the command's own."""
    with pytest.raises(ConfigError, match="`classes` must be names of one line each"):
        ModelConfig(classes=("a", name))
