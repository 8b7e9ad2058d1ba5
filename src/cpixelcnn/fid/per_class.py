"""The distance of each class of samples from the real images of that class."""

from __future__ import annotations

from dataclasses import dataclass

from cpixelcnn.fid.feature_sets import FeatureSet
from cpixelcnn.fid.frechet import GaussianStatistics, frechet_distance


@dataclass(frozen=True)
class ClassDistance:
    """The Frechet distance of one class.

    Attributes:
        name: of the class.
        value: d^2; None with fewer than two images of the class on a side.
        floor: the same for as many real images of the class; None without at least two of them.
        n_samples: samples of the class.
        n_reference: real images of the class in the reference.
        n_floor: real images of the class behind the floor.
    """

    name: str
    value: float | None
    floor: float | None
    n_samples: int
    n_reference: int
    n_floor: int


def class_distances(samples: FeatureSet, reference: FeatureSet, floor: FeatureSet | None) -> tuple[ClassDistance, ...]:
    """The distance of each class; all sides have the same classes.

    Few images of one class make distances far larger than those of all images together: they compare with each other
    and with their floor.
    """
    distances = []
    for label, name in enumerate(samples.classes or reference.classes):
        ours, real = (side.select(side.labels == label) for side in (samples, reference))
        lowest = floor.select(floor.labels == label) if floor is not None else None
        distances.append(
            ClassDistance(
                name=name,
                value=_distance(ours, real),
                floor=_distance(lowest, real),
                n_samples=len(ours),
                n_reference=len(real),
                n_floor=0 if lowest is None else len(lowest),
            )
        )
    return tuple(distances)


def _distance(images: FeatureSet | None, real: FeatureSet) -> float | None:
    if images is None or min(len(images), len(real)) < 2:
        return None
    return frechet_distance(*(GaussianStatistics.from_features(side.features) for side in (images, real)))
