"""What must be told beside a distance: what was compared with what, and what limits the value."""

from __future__ import annotations

from cpixelcnn.fid.balance import ClassBalance
from cpixelcnn.fid.feature_sets import FeatureSet
from cpixelcnn.fid.features import FeatureNetwork
from cpixelcnn.fid.reference import Reference


def describe(samples: FeatureSet, reference: Reference, floor: FeatureSet | None, network: FeatureNetwork) -> str:
    """What was compared with what, and how, in one sentence."""
    lowest = "" if floor is None else f"; floor from {floor}"
    return (
        f"{len(samples)} samples ({samples.image_size}) against {reference.description}; {network.dims} features of "
        f"{network.name}, images {network.preprocessing}; {network.weights_source}{lowest}"
    )


def caveats(
    samples: FeatureSet,
    reference: Reference,
    floor: FeatureSet | None,
    network: FeatureNetwork,
    balance: ClassBalance,
) -> list[str]:
    """What a reader of the value must be warned of, one sentence each."""
    return [
        sentence
        for sentence in (
            *_of_network(network),
            *_of_numbers(samples, reference, network),
            *_of_sizes(samples, reference, floor),
            balance.warning,
        )
        if sentence
    ]


def _of_network(network: FeatureNetwork) -> list[str | None]:
    sentences = [network.fallback_reason, network.caveat]
    if network.is_inception:
        return sentences
    other = (
        f"this distance is not an FID: it is between features of {network.name}, not of Inception, "
        "and compares only with values of the same network"
    )
    return [other, *sentences]


def _of_numbers(samples: FeatureSet, reference: Reference, network: FeatureNetwork) -> list[str]:
    return [
        f"{count} {side} for {network.dims} dimensions: their covariance is rank-deficient and the value "
        f"biased; take more than {network.dims}, or compare only values of {count} {side}"
        for side, count in (("samples", len(samples)), ("reference images", reference.statistics.n))
        if count is not None and count <= network.dims
    ]


def _of_sizes(samples: FeatureSet, reference: Reference, floor: FeatureSet | None) -> list[str]:
    sentences = []
    size, real = samples.image_size, reference.features
    if real and real.image_size != size:
        sentences.append(f"samples are {size} but reference images {real.image_size}; the difference is in the value")
    if floor and floor.image_size != size:
        sentences.append(f"samples are {size} but the images of the floor {floor.image_size}")
    if floor and len(floor) < len(samples):
        sentences.append(
            f"the floor comes from {len(floor)} real images, fewer than the {len(samples)} samples, so it is too high"
        )
    return sentences
