"""Configuration: frozen dataclasses for the model, the data and the training; to and from JSON.

The help text of a command-line option is the documentation of its field here, so that the two cannot drift apart.
Nothing in this module imports torch.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from cpixelcnn.errors import ConfigError
from cpixelcnn.typed_json import FieldError, UnknownFieldsError, fields_from_json

FORMAT_VERSION = 1
OWN_ARRAYS = "arrays"  # the data set of images that were given as arrays

LARGEST_IMAGE = 4096  # rows or columns
# Bounds far beyond anything useful: a file's configuration decides how much memory and time building its model takes.
_LARGEST_MODEL = {"nr_resnets": 50, "nr_filters": 4096, "nr_logistic_mix": 1000, "class_embedding_dim": 4096}
_MOST_CLASSES = 100_000
_WEIGHTS_OF_OBJECTIVES = ("discriminative_weight", "alignment_scale", "alignment_weight")

_COUNT = "[1-9][0-9]{0,8}"

C = TypeVar("C")


def documented(default: Any, text: str) -> Any:
    """A dataclass field with its one-sentence documentation, which is also the help of its option."""
    return field(default=default, metadata={"help": text})


def field_help(config: type, name: str) -> str:
    """The documentation of one field of a configuration."""
    return str(config.__dataclass_fields__[name].metadata["help"])  # type: ignore[attr-defined]


class _Config:
    """What the configurations share: a strict conversion from and to plain JSON types."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON types."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in vars(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The configuration of these fields; an unknown field is an error, a missing one takes its default."""
        try:
            return cls(**fields_from_json(cls, values))
        except UnknownFieldsError as error:
            raise ConfigError(
                f"the configuration has fields unknown to this version ({error}); upgrade cpixelcnn"
            ) from None
        except FieldError as error:
            raise ConfigError(f"the configuration cannot be used: {error}") from None


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def _require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f"`{name}` must be {rule}, but is {value}")


def _require_count(name: str, value: int, least: int, most: int = 2**31 - 1) -> None:
    _require(value >= least, name, value, f"{least} or more")
    _require(value <= most, name, value, f"at most {most}")


def _with_attributes(config: type[C]) -> type[C]:
    """The class with the documentation of its fields in its docstring, so that `help` shows it."""
    lines = [f"    {f.name}: {_lower_first(f.metadata['help'])} Default: {f.default!r}." for f in _fields(config)]
    config.__doc__ = f"{config.__doc__}\n\nAttributes:\n" + "\n".join(lines)
    return config


def _lower_first(text: str) -> str:
    return text if text[1:2].isupper() else text[0].lower() + text[1:]


def _fields(config: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(config)


@_with_attributes
@dataclass(frozen=True)
class ModelConfig(_Config):
    """Architecture of a model, and what its labels mean."""

    nr_resnets: int = documented(1, "Gated residual blocks per stream and level.")
    nr_filters: int = documented(40, "Channels of the hidden layers.")
    nr_logistic_mix: int = documented(5, "Logistics in the mixture of each pixel.")
    early_fusion: str = documented(
        "vector", "How the class enters at the input: vector (one number a channel), template (an image) or none."
    )
    film: str = documented("linear", "How the class modulates every block: linear, mlp (two layers with tanh) or none.")
    class_embedding_dim: int = documented(32, "Size of the class embedding that FiLM reads.")
    nr_orientations: int = documented(
        1, "Orientations that the model tells apart: 1 (upright), or 4 (images in quarter turns, for square images)."
    )
    dropout: float = documented(0.5, "Probability of dropping an activation inside a block.")
    image_channels: int = documented(3, "Channels of an image: 3 (RGB) or 1 (grey).")
    image_height: int = documented(32, "Rows of an image.")
    image_width: int = documented(32, "Columns of an image.")
    classes: tuple[str, ...] = documented((), "Names of the classes, in the order of their labels.")
    class_counts: tuple[int, ...] = documented((), "Training images of each class, for the prior of that name.")

    def __post_init__(self) -> None:
        for name, most in _LARGEST_MODEL.items():
            _require_count(name, getattr(self, name), 1, most)
        fusions = ("vector", "template", "none")
        _require(self.early_fusion in fusions, "early_fusion", repr(self.early_fusion), "vector, template or none")
        _require(self.film in ("linear", "mlp", "none"), "film", repr(self.film), "linear, mlp or none")
        _require(self.nr_orientations in (1, 4), "nr_orientations", self.nr_orientations, "1 or 4")
        if self.nr_orientations > 1:
            _require(self.film != "none", "film", repr(self.film), "linear or mlp where `nr_orientations` is 4")
            rows, columns = self.image_height, self.image_width
            _require(rows == columns, "image_size", f"{rows} x {columns}", "square where `nr_orientations` is 4")
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")
        _require(self.image_channels in (1, 3), "image_channels", self.image_channels, "1 or 3")
        for size in (self.image_height, self.image_width):
            _require_count("image_size", size, 1, LARGEST_IMAGE)
        _require(self.nr_classes <= _MOST_CLASSES, "classes", self.nr_classes, f"at most {_MOST_CLASSES} names")
        for name in self.classes:  # with a line break, a name could pass for another line of the output
            _require(name == "".join(name.splitlines()), "classes", repr(name), "names of one line each")

    def require_classes(self) -> None:
        """Refuse a conditional model whose classes have not been filled in from its images.

        Raises:
            ConfigError: there are none.
        """
        _require(not self.conditional or self.nr_classes >= 1, "classes", "empty", "one name or more")

    @property
    def nr_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def conditional(self) -> bool:
        """Whether the class enters the network at all."""
        return self.early_fusion != "none" or self.film != "none"

    @property
    def nr_dimensions(self) -> int:
        """Numbers in an image, C x H x W: the D of bits per dimension."""
        return self.image_channels * self.image_height * self.image_width


@_with_attributes
@dataclass(frozen=True)
class DataConfig(_Config):
    """Which images, and how they are read."""

    dataset: str = documented(
        "embedded", "embedded, cpen455, cifar10, cifar100, mnist, fashion-mnist, or folder (one sub-folder per class)."
    )
    data_dir: str | None = documented(None, "Directory of the data set; the embedded one needs none.")
    image_size: int | None = documented(None, "Height and width to resize to; by default the data set's own size.")
    channels: int | None = documented(None, "Read images as grey (1) or RGB (3); by default as the data set has them.")
    train_size: int = documented(4000, "Training images of the embedded data set.")
    validation_fraction: float = documented(
        0.1, "Fraction of the training images held out for validation if the data set has no such split."
    )
    split_seed: int = documented(0, "Seed of that split, of the crops, and of the embedded data set.")
    skip_bad: bool = documented(False, "Leave out images that cannot be read, and count them, rather than stop.")
    crops: int = documented(
        0, "Random crops of each training photograph (80 to 100 % of its sides), drawn once, to train on beside it."
    )

    def __post_init__(self) -> None:
        _require_count("crops", self.crops, 0, 1000)
        _require(0 < self.validation_fraction < 1, "validation_fraction", self.validation_fraction, "between 0 and 1")
        _require_count("train_size", self.train_size, 4)
        if self.image_size is not None:
            _require_count("image_size", self.image_size, 1, LARGEST_IMAGE)
        _require(self.channels in (None, 1, 3), "channels", self.channels, "1 or 3")


@_with_attributes
@dataclass(frozen=True)
class TrainConfig(_Config):
    """How a model is trained."""

    epochs: int = documented(10, "Passes over the training images.")
    batch_size: int = documented(16, "Images in a step, of all processes together.")
    lr: float = documented(1e-3, "Learning rate of Adam.")
    lr_decay: float = documented(0.999995, "Factor of the learning rate at every step of the constant schedule.")
    schedule: str = documented(
        "constant", "Course of the learning rate: constant (times lr-decay at every step) or cosine."
    )
    lr_final: float = documented(0.0, "Fraction of the learning rate at which the cosine ends.")
    warmup_steps: int = documented(0, "Steps over which the learning rate first rises linearly; 0 for none.")
    beta1: float = documented(0.95, "Adam's decay of the first moment.")
    beta2: float = documented(0.9995, "Adam's decay of the second moment.")
    clip_grad_norm: float = documented(
        1.0,
        "Norm to which a longer gradient (of the loss in bits/dim) is scaled; nearly all are longer than 1, "
        "which makes 1 a normalisation of every step (see the column clipped of the metrics). 0 scales none.",
    )
    weight_decay: float = documented(
        0.0, "Decoupled decay (AdamW's) of the directions of the convolutions; nothing else is decayed."
    )
    accumulate: int = documented(
        1, "Parts in which a batch is computed one after the other: the memory of one part, the same gradient."
    )
    recompute_activations: bool = documented(
        False, "Keep few activations and recompute the others for the gradient: less memory, a third more time."
    )
    ema_decay: float = documented(0.999, "Decay of the moving average of the weights (warmed up; 0 for none).")
    horizontal_flip: bool = documented(False, "Mirror half of the training images, others in each epoch.")
    shift: int = documented(0, "Move training images by up to this many pixels each way; edge pixels are repeated.")
    turned_share: float = documented(
        0.75, "Fraction of the training images that are turned, where the model tells orientations apart."
    )
    balanced: bool = documented(False, "Take every class equally often in an epoch, however frequent it is.")
    discriminative_weight: float = documented(
        0.0, "Weight of -log p(class | image) in nats, added to bits/dim; 0 trains the purely generative model."
    )
    discriminative_classes: int = documented(
        1, "Wrong classes compared with the right one for each image of the discriminative term."
    )
    discriminative_share: float = documented(
        0.25, "Fraction of each batch on which the discriminative term is computed."
    )
    discriminative_temperature: float = documented(
        1.0, "The discriminative term divides log-likelihoods by this temperature; 1 is the model's own posterior."
    )
    alignment_scale: float = documented(
        0.0,
        "Scale (beta) of the nats gained since `init_from`, for condition contrastive alignment: a fine-tuning for the "
        "class instead of the likelihood. 0 for none; 0.02 suits 32x32 RGB.",
    )
    alignment_weight: float = documented(1.0, "Weight (lambda) of the wrong classes in that alignment.")
    precision: str = documented(
        "auto", "Arithmetic of the convolutions in training: auto, float32 or bfloat16 (the likelihood is float32)."
    )
    compile: str = documented(
        "auto", "Whether to train through torch.compile: on, off or auto (off, until it is measured on a GPU)."
    )
    threads: str = documented(
        "auto",
        "CPU threads: a number, or auto, which measures; a resumed run keeps its number. Only equal numbers repeat bit "
        "for bit.",
    )
    seed: int = documented(0, "Seed of the weights, the permutations, the augmentation and the dropout.")
    eval_interval: int = documented(1, "Epochs between validations.")
    eval_images: int = documented(0, "Validate on this many images (the first, stratified) while training; 0 for all.")
    sample_interval: int = documented(0, "Epochs between sample grids; 0 for one grid at the end.")
    save_interval: int = documented(1, "Epochs between checkpoints.")
    keep_checkpoints: str = documented(
        "2",
        "Checkpoints to keep besides the best: the newest N (with 1, nothing replaces a damaged one), every:N (the "
        "newest two, and that of each N-th epoch), or all.",
    )
    max_bad_steps: int = documented(20, "Steps in a row whose loss or gradient is not finite before training stops.")
    patience: int = documented(0, "Validations in a row without a new best after which training ends; 0 for never.")
    max_minutes: float = documented(
        0.0, "Minutes after which this call saves and pauses (a validation that has begun is completed); 0 for never."
    )
    init_from: str | None = documented(
        None, "Start from the weights of this run, checkpoint, weight file or shipped model (its moving average)."
    )

    def __post_init__(self) -> None:
        positive = ("epochs", "batch_size", "accumulate", "eval_interval", "save_interval", "max_bad_steps")
        for name in (*positive, "discriminative_classes"):
            _require_count(name, getattr(self, name), 1)
        for name in ("eval_images", "sample_interval", "warmup_steps", "shift", "patience"):
            _require_count(name, getattr(self, name), 0)
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        for name in ("clip_grad_norm", "weight_decay", "max_minutes", *_WEIGHTS_OF_OBJECTIVES):
            value = getattr(self, name)
            _require(0 <= value < math.inf, name, value, "0 or more, and finite")
        _require(self.lr > 0 and math.isfinite(self.lr), "lr", self.lr, "a positive number")
        _require(0 < self.lr_decay <= 1, "lr_decay", self.lr_decay, "more than 0 and at most 1")
        _require(self.lr * self.weight_decay < 1, "weight_decay", self.weight_decay, "less than 1 / `lr`")
        _require(self.schedule in ("constant", "cosine"), "schedule", repr(self.schedule), "constant or cosine")
        _require(0 <= self.lr_final <= 1, "lr_final", self.lr_final, "between 0 and 1")
        _require(0 <= self.turned_share < 1, "turned_share", self.turned_share, "at least 0 and less than 1")
        share = self.discriminative_share
        _require(0 < share <= 1, "discriminative_share", share, "more than 0 and at most 1")
        temperature = self.discriminative_temperature
        _require(0 < temperature < math.inf, "discriminative_temperature", temperature, "more than 0, and finite")
        for name in ("beta1", "beta2", "ema_decay"):
            value = getattr(self, name)
            _require(0 <= value < 1, name, value, "at least 0 and less than 1")
        if self.alignment_scale:
            _require(self.init_from is not None, "init_from", None, "a model where `alignment_scale` is not 0")
            only = "0 where `alignment_scale` is not"
            _require(self.discriminative_weight == 0, "discriminative_weight", self.discriminative_weight, only)
        precisions = ("auto", "float32", "bfloat16")
        _require(self.precision in precisions, "precision", repr(self.precision), "auto, float32 or bfloat16")
        for name in ("threads", "keep_checkpoints"):
            object.__setattr__(self, name, str(getattr(self, name)))  # a number is fine, too
        _require(_matches(f"auto|{_COUNT}", self.threads), "threads", repr(self.threads), "auto, or 1 or more")
        kept = self.keep_checkpoints
        rule = "1 or more, every:N for each N-th epoch, or all"
        _require(_matches(f"all|(every:)?{_COUNT}", kept), "keep_checkpoints", repr(kept), rule)
        if kept.startswith("every:"):
            rule = f"every:N with N a multiple of `save_interval` ({self.save_interval})"
            _require(int(kept[len("every:") :]) % self.save_interval == 0, "keep_checkpoints", repr(kept), rule)
        _require(self.compile in ("auto", "on", "off"), "compile", repr(self.compile), "auto, on or off")


@dataclass(frozen=True)
class RunConfig:
    """Everything that a training run is made of; what `config.json` holds.

    Attributes:
        model: the architecture.
        data: where the images come from; by default arrays of the caller's, which no command can load again.
        train: how the model is trained.
    """

    model: ModelConfig = field(default_factory=lambda: ModelConfig())
    data: DataConfig = field(default_factory=lambda: DataConfig(dataset=OWN_ARRAYS))
    train: TrainConfig = field(default_factory=lambda: TrainConfig())

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types, with the version of the format."""
        return {
            "format_version": FORMAT_VERSION,
            "model": self.model.to_json(),
            "data": self.data.to_json(),
            "train": self.train.to_json(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> RunConfig:
        """The inverse of `to_json`.

        Raises:
            ConfigError: a newer format, an unknown field or a value out of range.
        """
        version = document.get("format_version") if isinstance(document, dict) else None
        if type(version) is not int or version < 1:
            raise ConfigError("this is not a cpixelcnn configuration (it has no format_version)")
        if version > FORMAT_VERSION:
            raise ConfigError(
                f"the configuration has format {version}, newer than this version's {FORMAT_VERSION}; upgrade cpixelcnn"
            )
        model = ModelConfig.from_json(document.get("model", {}))
        model.require_classes()
        return cls(
            model,
            DataConfig.from_json(document.get("data", {})),
            TrainConfig.from_json(document.get("train", {})),
        )
