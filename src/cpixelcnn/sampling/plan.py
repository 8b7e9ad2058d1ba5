"""Which images to draw, and how: all that, together with the model's weights, decides their pixels; checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import UNLABELLED, find_class
from cpixelcnn.errors import ConfigError, DataError, did_you_mean
from cpixelcnn.randomness import derive_seed
from cpixelcnn.sampling.options import SamplingOptions

Labels = Tensor | Sequence[int] | Sequence[str]


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """Images to draw from a model; `plan_samples` makes one.

    Attributes:
        config: the model's configuration.
        labels: class of each image; -1 where the model is unconditional.
        seeds: seed of each image's noise.
        options: sampler, precision, temperatures, guidance.
        given: images to complete, uint8 (N, C, H, W), or None.
        from_row: the first row that is drawn; the rows above it are kept as they are given.
        given_names: of completions, which image each completes, for people.

    Raises:
        DataError: a label that the model does not know, or given images of another type or size than the model's.
        ConfigError: not one seed for each label, or a row that the images do not have.
    """

    config: ModelConfig
    labels: tuple[int, ...]
    seeds: tuple[int, ...]
    options: SamplingOptions
    given: Tensor | None = None
    from_row: int = 0
    given_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        n, config = len(self.labels), self.config
        if len(self.seeds) != n:
            raise ConfigError(f"`seeds` must be as many as the labels ({n}), but are {len(self.seeds)}")
        if self.given_names is not None and len(self.given_names) != n:
            raise ConfigError(f"`given_names` must be as many as the labels ({n}), but are {len(self.given_names)}")
        low, high = min(self.labels, default=0), max(self.labels, default=0)
        if config.conditional and not 0 <= low <= high < config.nr_classes:
            raise DataError(f"labels must lie in 0..{config.nr_classes - 1}, but reach from {low} to {high}")
        expected = (n, *self.image_shape)
        if self.given is not None and (self.given.dtype != torch.uint8 or tuple(self.given.shape) != expected):
            raise DataError(
                f"images to complete must be uint8 {expected}, one for each label, but are {self.given.dtype} "
                f"{tuple(self.given.shape)}; resize or repeat them first"
            )
        if not 0 <= self.from_row <= config.image_height or (self.from_row and self.given is None):
            raise ConfigError(
                f"`from_row` must lie in 0..{config.image_height} and needs images, but is {self.from_row}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.config.image_channels, self.config.image_height, self.config.image_width

    def select(self, indices: Sequence[int]) -> SamplePlan:
        """The plan of some of its images, which may be repeated."""
        return replace(
            self,
            labels=tuple(self.labels[i] for i in indices),
            seeds=tuple(self.seeds[i] for i in indices),
            given=None if self.given is None else self.given[list(indices)],
            given_names=None if self.given_names is None else tuple(self.given_names[i] for i in indices),
        )


def plan_samples(
    config: ModelConfig,
    labels: Labels,
    *,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    given: Tensor | None = None,
    given_names: Sequence[str] | None = None,
    from_row: int = 0,
    options: SamplingOptions | None = None,
) -> SamplePlan:
    """Plan one image for each label; the arguments and errors are those of `sample`, and of `SamplePlan`."""
    indices = _label_indices(config, labels)
    if seeds is None:
        seeds = [derive_seed(seed, "sample", i) for i in range(len(indices))]
    names = None if given_names is None else tuple(given_names)
    return SamplePlan(config, indices, tuple(seeds), options or SamplingOptions(), given, from_row, names)


def label_of(config: ModelConfig, name: str) -> int:
    """The label of a class by its name, in any case where that leaves no doubt.

    >>> label_of(ModelConfig(classes=("panda", "koala")), "Panda")
    0

    Raises:
        ConfigError: the model has no such class, with a suggestion.
    """
    label = find_class(name, config.classes)
    if label is None:
        raise ConfigError(f"the model has no class {name!r}; {did_you_mean(name, config.classes, 'its classes are')}")
    return label


def _label_indices(config: ModelConfig, labels: Labels) -> tuple[int, ...]:
    if not isinstance(labels, Tensor) and any(isinstance(label, str) for label in labels):
        if not config.conditional:
            raise DataError("this model is unconditional and knows no classes; give -1 for each image")
        return tuple(label_of(config, str(label)) for label in labels)
    tensor = torch.as_tensor(labels).cpu()
    if tensor.ndim != 1 or (tensor.is_floating_point() and len(tensor)):
        raise DataError(f"labels must be integers (N,), but are {tensor.dtype} {tuple(tensor.shape)}; convert them")
    if not config.conditional:
        return (UNLABELLED,) * len(tensor)
    return tuple(int(label) for label in tensor.tolist())
