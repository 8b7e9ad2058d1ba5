"""Distances between samples and real images, with what one must know to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.errors import DataError
from cpixelcnn.fid.balance import ClassBalance, class_balance
from cpixelcnn.fid.caveats import caveats, describe
from cpixelcnn.fid.extractor import Extractor
from cpixelcnn.fid.feature_sets import FeatureSet, as_many, in_classes, size_of
from cpixelcnn.fid.features import BATCH_SIZE, FeatureNetwork, choose_features
from cpixelcnn.fid.frechet import GaussianStatistics, frechet_distance, save_statistics
from cpixelcnn.fid.kernel import KernelDistance, kernel_distance
from cpixelcnn.fid.neighbours import NeighbourScores, neighbour_scores
from cpixelcnn.fid.per_class import ClassDistance, class_distances
from cpixelcnn.fid.reference import Reference, prepare_reference
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress, silent

NEIGHBOURS = 3


@dataclass(frozen=True)
class FrechetScore:
    """A Frechet distance and its kin, with their circumstances.

    Attributes:
        value: d^2, at least 0; lower is better.
        features: name of the feature network.
        dims: length of its feature vectors.
        n_samples: images whose distance this is.
        n_reference: real images behind the reference; None where a statistics file does not tell.
        protocol: what was compared with what, and how, one sentence.
        floor: the same distance for as many real images as there are samples; None without such images.
        warnings: what limits the value, one sentence each.
        is_fid: whether the value may be called FID; if not, it only orders models.
        n_floor: real images behind the floor.
        sample_size: width, height and colours of the samples.
        reference_size: those of the reference images; None where a statistics file does not tell.
        rank_samples: the largest rank that a covariance of so many samples can have.
        rank_reference: the same of the reference; None where it is not known.
        kernel: kernel distance, a KID with Inception; None where only statistics of the reference are known.
        kernel_floor: the same for the real images behind the floor.
        neighbours: precision, recall, density and coverage; None as above, or with too few images.
        neighbours_floor: the same for the real images behind the floor.
        balance: images of each class on either side.
        per_class: the distance of each class from the real images of that class; empty unless asked for.
        measured_by: name of the protocol that fixed all this; None where nothing but the caller did.
    """

    value: float
    features: str
    dims: int
    n_samples: int
    n_reference: int | None
    protocol: str
    floor: float | None
    warnings: tuple[str, ...]
    is_fid: bool
    n_floor: int | None
    sample_size: str
    reference_size: str | None
    rank_samples: int
    rank_reference: int | None
    kernel: KernelDistance | None
    kernel_floor: KernelDistance | None
    neighbours: NeighbourScores | None
    neighbours_floor: NeighbourScores | None
    balance: ClassBalance
    per_class: tuple[ClassDistance, ...] = ()
    measured_by: str | None = None


def fid_score(
    samples: ImageSet,
    reference: ImageSet | Path,
    *,
    features: str = "auto",
    dims: int | None = None,
    weights: Path | None = None,
    floor_images: ImageSet | None = None,
    per_class: bool = False,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> FrechetScore:
    """Frechet distance between samples and a reference (Heusel et al. 2017, arXiv 1706.08500), an FID with Inception.

    Args:
        samples: generated images, at the size at which they are compared.
        reference: real images, or an npz file of their features or of their statistics (`mu`, `sigma`).
        features: "inception", "efficientnet-lite0" (whose distance is not an FID), or "auto"; see `choose_features`.
        dims: of the features; never replaced by another number if given.
        weights: a local file of Inception's weights.
        floor_images: see `frechet_score`.
        per_class: also compare each class with the real images of that class.
        device: where the feature network runs.
        progress: is told of images done and all images.

    Raises:
        ConfigError: unknown features or dimensions.
        DataError: weights that cannot be used, fewer than two images on a side, or unusable statistics.
    """
    network = choose_features(features, dims, weights)
    return frechet_score(
        samples,
        reference,
        network,
        floor_images=floor_images,
        per_class=per_class,
        device=device,
        progress=progress,
    )


def frechet_score(
    samples: ImageSet,
    reference: ImageSet | FeatureSet | Path,
    network: FeatureNetwork,
    *,
    floor_images: ImageSet | FeatureSet | None = None,
    per_class: bool = False,
    device: str | torch.device = "cpu",
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
    cache_dir: Path | None = None,
    statistics_file: Path | None = None,
) -> FrechetScore:
    """Distances between samples and a reference: real images, their features, or an npz file of either.

    Images are taken at the size they have. The features of real images are cached; a cache that cannot be used costs
    time and a warning, nothing else.

    Args:
        floor_images: real images apart from the reference, such as the training images. As many as there are samples,
            of each class as many where that is known, give the `floor`: what a perfect model of this many samples can
            expect.
        per_class: also compare each class with the real images of that class.
        cache_dir: where features are kept; by default cpixelcnn/features under $XDG_CACHE_HOME or ~/.cache.
        statistics_file: where the statistics of the reference are also written, as an npz file that can be a reference.

    Raises:
        DataError: fewer than two images on a side, unsuitable images, an unusable file, or classes that are not known
            where they are asked for.
    """
    extractor = Extractor(network, device, batch_size, progress, cache_dir)
    extractor.expect(samples)
    floor = as_many(floor_images, samples.labels, samples.classes)
    for real in (floor, reference):
        if isinstance(real, ImageSet):
            extractor.expect(real, cached=True)
    prepared = prepare_reference(reference, extractor, floor)
    if statistics_file is not None:
        save_statistics(statistics_file, prepared.statistics)
    return score_samples(samples, prepared, extractor, per_class=per_class)


def score_model(
    model: PixelCNN,
    draw: Callable[[PixelCNN, Tensor], Tensor],
    reference: Reference,
    extractor: Extractor,
    n_per_class: int = 25,
    *,
    per_class: bool = False,
) -> FrechetScore:
    """Draw samples of a model and compare them with a reference, such as for each checkpoint of a run.

    Args:
        model: the model.
        draw: gives images uint8 (N, C, H, W) of the model for labels int64 (N,): for comparisons between checkpoints
            always with the same seed, as in ``lambda model, labels: sample(model, labels, seed=0).images``.
        reference: prepared once with `prepare_reference`, for any number of models.
        extractor: with the network that the reference was prepared with.
        n_per_class: samples of each class; of an unconditional model, samples in all.
        per_class: also compare each class with the real images of that class.

    Raises:
        DataError: see `frechet_score`.
    """
    config = model.config
    labels = torch.arange(config.nr_classes).repeat_interleave(n_per_class)
    if not config.conditional:
        labels = torch.full((n_per_class,), UNLABELLED)
    images = draw(model, labels)
    return score_samples(
        ImageSet(images, labels, config.classes, "model", "samples"), reference, extractor, per_class=per_class
    )


def score_samples(
    samples: ImageSet, reference: Reference, extractor: Extractor, *, per_class: bool = False
) -> FrechetScore:
    """Compare samples with a reference that was prepared before; see `frechet_score`.

    Raises:
        DataError: see `frechet_score`.
    """
    real = reference.features and in_classes(reference.features, samples.classes)
    if per_class:
        _require_classes(samples, real, reference.description)
    network = extractor.network
    floor = as_many(reference.floor, samples.labels, samples.classes)
    extractor.expect(samples)
    if isinstance(floor, ImageSet):
        extractor.expect(floor, cached=True)
    ours = extractor.features(samples)
    floor = extractor.features(floor, cached=True) if isinstance(floor, ImageSet) else floor
    balance = class_balance(ours, real)
    return FrechetScore(
        value=_distance(ours, reference),
        features=network.name,
        dims=network.dims,
        n_samples=len(ours),
        n_reference=reference.statistics.n,
        protocol=describe(ours, reference, floor, network),
        floor=None if floor is None else _distance(floor, reference),
        warnings=(*caveats(ours, reference, floor, network, balance), *extractor.notes),
        is_fid=network.is_inception,
        n_floor=None if floor is None else len(floor),
        sample_size=size_of(samples),
        reference_size=real.image_size if real else None,
        rank_samples=min(len(ours) - 1, network.dims),
        rank_reference=None if reference.statistics.n is None else min(reference.statistics.n - 1, network.dims),
        kernel=_kernel(ours, real),
        kernel_floor=_kernel(floor, real),
        neighbours=_neighbours(ours, real),
        neighbours_floor=_neighbours(floor, real),
        balance=balance,
        per_class=class_distances(ours, real, floor) if per_class and real else (),
    )


def _require_classes(samples: ImageSet, real: FeatureSet | None, description: str) -> None:
    if not samples.labelled:
        raise DataError(
            f"`per_class` needs samples of known classes, and those of {samples.name} are not known; "
            "make them with: cpixelcnn sample"
        )
    if real is None or not real.labelled:
        raise DataError(
            f"`per_class` needs real images of known classes, and the reference is {description}; "
            "choose a labelled split, such as validation"
        )
    if samples.classes and real.classes != samples.classes:
        raise DataError(
            f"`per_class` compares equal classes, but the samples have {', '.join(samples.classes)} and the reference "
            f"{', '.join(real.classes)}; choose the data set that the samples' model was made for"
        )


def _distance(images: FeatureSet, reference: Reference) -> float:
    return frechet_distance(GaussianStatistics.from_features(images.features), reference.statistics)


def _kernel(images: FeatureSet | None, real: FeatureSet | None) -> KernelDistance | None:
    return kernel_distance(images.features, real.features) if images and real else None


def _neighbours(images: FeatureSet | None, real: FeatureSet | None) -> NeighbourScores | None:
    if not images or not real or min(len(images), len(real)) <= NEIGHBOURS:
        return None
    return neighbour_scores(images.features, real.features, NEIGHBOURS)
