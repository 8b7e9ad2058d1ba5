"""Two models on the same images, image by image, which is sharper than two accuracies with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.image_set import UNLABELLED
from cpixelcnn.errors import ConfigError
from cpixelcnn.evaluation.bits_per_dim import bits, marginal_log_probs
from cpixelcnn.evaluation.evaluate import Evaluation
from cpixelcnn.evaluation.scores import mcnemar


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same images.

    Attributes:
        n_images: how many images.
        n_different: how many of them get different classes from the two.
        only_first_right: images that only the first model classifies right; None where labels are missing.
        only_second_right: the same of the second.
        p_value: of "both are right equally often", see `mcnemar`; None where labels are missing.
        bpd_difference: mean bits/dim (marginal) of the second less those of the first: negative where the second is
            better.
        bpd_difference_stderr: its standard error over images, which cancels what makes images easy for both.
    """

    n_images: int
    n_different: int
    only_first_right: int | None
    only_second_right: int | None
    p_value: float | None
    bpd_difference: float
    bpd_difference_stderr: float


def require_comparable(first: ModelConfig, second: ModelConfig) -> None:
    """Refuse models that cannot be laid side by side.

    Raises:
        ConfigError: models without classes, of different classes, or of images of different shapes.
    """
    if not (first.conditional and second.conditional):
        raise ConfigError(
            "only class-conditional models can be compared, but one of these knows no classes; leave it out"
        )
    if set(first.classes) != set(second.classes):
        raise ConfigError(
            f"models of different classes cannot be compared: one has {', '.join(first.classes)}, another "
            f"{', '.join(second.classes)}; score them one by one"
        )
    sizes = [
        f"{config.image_width}x{config.image_height} {'grey' if config.image_channels == 1 else 'RGB'}"
        for config in (first, second)
    ]
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"models of different images cannot be compared: one is for {sizes[0]}, another for {sizes[1]}; score them "
            "one by one"
        )


def compare(
    first: tuple[ModelConfig, Evaluation], second: tuple[ModelConfig, Evaluation], labels: Tensor
) -> PairedComparison:
    """Compare two evaluations of the same images.

    Args:
        first: the configuration of a class-conditional model, and what `evaluate` found.
        second: those of another model of the same classes, maybe in another order.
        labels: classes of the images, (N,), as indices into those of the first model; -1 for unknown.

    Raises:
        ConfigError: models that cannot be compared, see `require_comparable`.
    """
    require_comparable(first[0], second[0])
    predicted, images_bits = zip(*map(_findings, (first, second)), strict=True)
    names = [first[0].classes.index(name) for name in second[0].classes]
    predicted_second = labels.new_tensor(names)[predicted[1]]
    right = predicted[0] == labels, predicted_second == labels
    labelled = len(labels) > 0 and not bool((labels == UNLABELLED).any())
    differences = images_bits[1] - images_bits[0]
    n = len(differences)
    return PairedComparison(
        n_images=n,
        n_different=int((predicted[0] != predicted_second).sum()),
        only_first_right=int((right[0] & ~right[1]).sum()) if labelled else None,
        only_second_right=int((right[1] & ~right[0]).sum()) if labelled else None,
        p_value=mcnemar(right[0], right[1]) if labelled else None,
        bpd_difference=float(differences.mean()),
        bpd_difference_stderr=float(differences.std()) / math.sqrt(n) if n > 1 else 0.0,
    )


def compare_all(
    models: Sequence[tuple[ModelConfig, Evaluation]], labels: Tensor
) -> dict[tuple[int, int], PairedComparison]:
    """Every pair of models, by their numbers; the arguments are those of `compare`."""
    pairs = [(i, j) for i in range(len(models)) for j in range(i + 1, len(models))]
    first_classes = models[0][0].classes
    found = {}
    for i, j in pairs:
        own = labels.new_tensor([*map(models[i][0].classes.index, first_classes), UNLABELLED])[labels]
        found[i, j] = compare(models[i], models[j], own)
    return found


def _findings(model: tuple[ModelConfig, Evaluation]) -> tuple[Tensor, Tensor]:
    config, evaluation = model
    assert evaluation.classification is not None
    assert evaluation.log_likelihoods is not None
    return evaluation.classification.predictions, bits(
        config, marginal_log_probs(config, evaluation.log_likelihoods[0])
    )
