"""Named ways of measuring an FID, so that a value compares with published ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import ConfigError, DataError, did_you_mean
from cpixelcnn.fid.feature_sets import FeatureSet, size_of
from cpixelcnn.fid.features import INCEPTION
from cpixelcnn.fid.score import FrechetScore


@dataclass(frozen=True)
class Protocol:
    """What a published FID fixes.

    Attributes:
        name: of the protocol.
        dims: of Inception's features.
        n_per_class: samples of each class; None where any number will do.
        dataset: whose images are the reference; None for that of the samples.
        split: of the reference; None for any.
        reference_size: height and width of the reference images; None for those of the samples.
        min_samples: with fewer, the value is not comparable.
    """

    name: str
    dims: int
    n_per_class: int | None = None
    dataset: str | None = None
    split: str | None = None
    reference_size: int | None = None
    min_samples: int = 0


PROTOCOLS = {
    # The published cpen455 values: 100 samples of 32x32 against the 519 test files as they are stored.
    "course": Protocol("course", 192, n_per_class=25, dataset="cpen455", split="test", reference_size=64),
    # Heusel et al. 2017 (arXiv 1706.08500): 2,048 dimensions, and at least 10,000 samples.
    "standard": Protocol("standard", 2048, min_samples=10_000),
}


def find_protocol(name: str, **explicit: Any) -> Protocol:
    """The protocol of that name.

    Args:
        explicit: what the user has set otherwise: `features` ("auto" if nothing), `dims`, `split`, `reference_size`.

    Raises:
        ConfigError: an unknown name, or a parameter that contradicts the protocol.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"`protocol` {name} is not known; {did_you_mean(name, PROTOCOLS, 'there are')}")
    protocol = PROTOCOLS[name]
    fixed = {"features": INCEPTION, "dims": protocol.dims, "split": protocol.split}
    fixed["reference_size"] = protocol.reference_size
    for parameter, value in explicit.items():
        expected = fixed[parameter]
        if value not in (None, "auto") and expected is not None and value != expected:
            raise ConfigError(
                f"`protocol` {name} means `{parameter}` {expected}, but {value} is given; leave out one of the two"
            )
    return protocol


def samples_of(protocol: Protocol, samples: ImageSet) -> ImageSet:
    """The samples that a protocol takes: the first so many of each class, or all.

    Raises:
        DataError: there are too few of a class, or the classes are not known and the number is another.
    """
    n = protocol.n_per_class
    if n is None:
        return samples
    remedy = f"make them with: cpixelcnn sample --per-class {n}"
    if not samples.labelled or not samples.classes:
        nr_classes = 4  # of cpen455, whose protocol this is
        if len(samples) != n * nr_classes:
            raise DataError(
                f"`protocol` {protocol.name} takes {n} samples of each class, but {samples.name} holds {len(samples)} "
                f"images of unknown classes, not {n * nr_classes}; {remedy}"
            )
        return samples
    for name, count in zip(samples.classes, samples.class_counts, strict=True):
        if count < n:
            raise DataError(
                f"`protocol` {protocol.name} takes {n} samples of each class, but {samples.name} holds {count} of "
                f"{name}; {remedy}"
            )
    if len(samples) == n * len(samples.classes):
        return samples
    members = [torch.nonzero(samples.labels == label)[:n, 0] for label in range(len(samples.classes))]
    return samples.select(torch.cat(members).sort().values)


def require_equal_sizes(protocol: Protocol, samples: ImageSet, reference: ImageSet | FeatureSet | Path) -> None:
    """Refuse images of two sizes where the protocol wants both sides preprocessed alike.

    Raises:
        ConfigError: the sizes differ.
    """
    if protocol.reference_size is not None or isinstance(reference, Path):
        return
    theirs = reference.image_size if isinstance(reference, FeatureSet) else size_of(reference)
    if size_of(samples) != theirs:
        raise ConfigError(
            f"`protocol` {protocol.name} wants both sides preprocessed alike, but samples are {size_of(samples)} and "
            f"reference images {theirs}; bring them to one size, or leave out `protocol`"
        )


def measured_by(protocol: Protocol, score: FrechetScore) -> FrechetScore:
    """The score with the name of the protocol, and with what keeps it from being one of that protocol."""
    warnings = []
    if score.n_samples < protocol.min_samples:
        warnings.append(
            f"the {protocol.name} protocol takes {protocol.min_samples:,} samples or more, and these are "
            f"{score.n_samples:,}: the value is too high and compares with no published one"
        )
    if score.reference_size is None:
        warnings.append(
            f"how the images behind the statistics were prepared is not known, and the {protocol.name} protocol "
            "prescribes it"
        )
    return replace(score, measured_by=protocol.name, warnings=(*warnings, *score.warnings))
