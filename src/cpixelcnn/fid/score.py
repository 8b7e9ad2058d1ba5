"""The Frechet distance between samples and real images, with what one must know to read it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.datasets.splits import balanced_subset
from cpixelcnn.errors import DataError
from cpixelcnn.fid.features import BATCH_SIZE, FeatureNetwork, choose_features, extract_features
from cpixelcnn.fid.frechet import GaussianStatistics, frechet_distance, load_statistics, save_statistics
from cpixelcnn.progress import Progress, silent


@dataclass(frozen=True)
class FrechetScore:
    """A Frechet distance and its circumstances.

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
    n_floor: int | None = None


def fid_score(
    samples: ImageSet,
    reference: ImageSet | Path,
    *,
    features: str = "auto",
    dims: int | None = None,
    weights: Path | None = None,
    floor_images: ImageSet | None = None,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> FrechetScore:
    """Frechet distance between samples and a reference (Heusel et al. 2017, arXiv 1706.08500), an FID with Inception.

    Args:
        samples: generated images, at the size at which they are compared.
        reference: real images, or an npz file of their statistics (`mu`, `sigma`).
        features: "inception", "efficientnet-lite0" (whose distance is not an FID), or "auto"; see `choose_features`.
        dims: of the features; never replaced by another number if given.
        weights: a local file of Inception's weights.
        floor_images: see `frechet_score`.
        device: where the feature network runs.
        progress: is told of images done and all images.

    Raises:
        ConfigError: unknown features or dimensions.
        DataError: weights that cannot be used, fewer than two images on a side, or unusable statistics.
    """
    network = choose_features(features, dims, weights)
    return frechet_score(samples, reference, network, floor_images=floor_images, device=device, progress=progress)


def frechet_score(
    samples: ImageSet,
    reference: ImageSet | Path,
    network: FeatureNetwork,
    *,
    floor_images: ImageSet | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
    cache_dir: Path | None = None,
    statistics_file: Path | None = None,
) -> FrechetScore:
    """Distance between samples and a reference: a set of real images or an npz file of their statistics.

    Images are taken at the size they have. The statistics of reference images are cached; a cache that cannot be used
    costs time and a warning, nothing else.

    Args:
        floor_images: real images apart from the reference, such as the training images. As many as there are samples,
            spread evenly over the classes, give the `floor`: what a perfect model of this many samples can expect.
        cache_dir: where statistics are kept; by default cpixelcnn/statistics under $XDG_CACHE_HOME or ~/.cache.
        statistics_file: where the statistics of the reference are also written, as an npz file that can be a reference.

    Raises:
        DataError: fewer than two images on a side, unsuitable images, or an unusable statistics file.
    """
    floor_images = _as_many(floor_images, len(samples))
    work = _Extraction(network, device, batch_size, progress)
    work.expect(samples, floor_images)
    notes: list[str] = []
    if isinstance(reference, Path):
        statistics = load_statistics(reference, network.dims)
    else:
        statistics = _cached_statistics(work, reference, cache_dir, notes)
    if statistics_file is not None:
        save_statistics(statistics_file, statistics)
    value = frechet_distance(work.statistics(samples), statistics)
    floor = None if floor_images is None else frechet_distance(work.statistics(floor_images), statistics)
    return FrechetScore(
        value=value,
        features=network.name,
        dims=network.dims,
        n_samples=len(samples),
        n_reference=statistics.n,
        protocol=_protocol(samples, reference, statistics.n, network, floor_images),
        floor=floor,
        warnings=(*_limits(samples, reference, statistics.n, network, floor_images), *notes),
        is_fid=network.is_inception,
        n_floor=None if floor_images is None else len(floor_images),
    )


@dataclass
class _Extraction:
    """Feature statistics of several sets, with one progress over all of them."""

    network: FeatureNetwork
    device: str | torch.device
    batch_size: int
    progress: Progress
    done: int = 0
    total: int = 0

    def expect(self, *image_sets: ImageSet | None) -> None:
        """Refuse sets that are too small before any work is done, and count the others as work to come."""
        for image_set in image_sets:
            if image_set is not None:
                if len(image_set) < 2:
                    raise DataError(
                        f"a Frechet distance needs at least 2 images on either side, "
                        f"but {image_set.name} ({image_set.split}) has {len(image_set)}"
                    )
                self.total += len(image_set)

    def statistics(self, image_set: ImageSet) -> GaussianStatistics:
        before = self.done

        def advance(done: int, total: int) -> None:
            self.done = before + done
            self.progress(self.done, self.total)

        features = extract_features(self.network, image_set.images, self.batch_size, self.device, advance)
        return GaussianStatistics.from_features(features)


def _as_many(real_images: ImageSet | None, count: int) -> ImageSet | None:
    """`count` of the images, spread evenly over the classes; None where there are too few for any statistics."""
    if real_images is None or min(len(real_images), count) < 2:
        return None
    return real_images.select(balanced_subset(real_images.labels, count))


def _cached_statistics(
    work: _Extraction, reference: ImageSet, cache_dir: Path | None, notes: list[str]
) -> GaussianStatistics:
    """Statistics of the reference from the cache, else computed and cached; trouble with the cache becomes a note."""
    path = (default_cache_dir() if cache_dir is None else cache_dir) / f"{_cache_key(reference, work.network)}.npz"
    try:
        if os.path.exists(path):
            cached = load_statistics(path, work.network.dims)
            if (cached.n, cached.dims) == (len(reference), work.network.dims):
                return cached
            raise DataError(f"{path} holds statistics of other images")
    except DataError as error:
        notes.append(f"cached reference statistics were computed anew: {error}")
    work.expect(reference)
    statistics = work.statistics(reference)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_statistics(path, statistics)
    except (OSError, DataError) as error:
        notes.append(f"reference statistics were not cached: {error}")
    return statistics


def default_cache_dir() -> Path:
    """The directory of cached statistics (XDG base directory specification, which ignores relative paths)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "cpixelcnn" / "statistics"


def _cache_key(image_set: ImageSet, network: FeatureNetwork) -> str:
    """SHA-256 over everything on which the statistics depend."""
    circumstances = (
        tuple(image_set.images.shape),
        network.name,
        network.dims,
        network.preprocessing,
        network.weights_digest,
    )
    digest = hashlib.sha256(repr(circumstances).encode())
    digest.update(image_set.images.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _protocol(
    samples: ImageSet,
    reference: ImageSet | Path,
    n_reference: int | None,
    network: FeatureNetwork,
    floor: ImageSet | None,
) -> str:
    if isinstance(reference, Path):
        number = "an unknown number of" if n_reference is None else n_reference
        real = f"the statistics in {reference} (of {number} images)"
    else:
        real = _described(reference)
    lowest = "" if floor is None else f"; floor from {_described(floor)}"
    return (
        f"{len(samples)} samples ({_size(samples)}) against {real}; {network.dims} features of {network.name}, "
        f"images {network.preprocessing}; {network.weights_source}{lowest}"
    )


def _limits(
    samples: ImageSet,
    reference: ImageSet | Path,
    n_reference: int | None,
    network: FeatureNetwork,
    floor: ImageSet | None,
) -> list[str]:
    """What a reader of the value must be warned of."""
    limits = []
    if not network.is_inception:
        limits.append(
            f"this distance is not an FID: it is between features of {network.name}, not of Inception, "
            "and compares only with values of the same network"
        )
    limits += [sentence for sentence in (network.fallback_reason, network.caveat) if sentence]
    for side, count in (("samples", len(samples)), ("reference images", n_reference)):
        if count is not None and count <= network.dims:
            limits.append(
                f"{count} {side} for {network.dims} dimensions: their covariance is rank-deficient and the value "
                f"biased; take more than {network.dims}, or compare only values of {count} {side}"
            )
    if isinstance(reference, ImageSet) and _size(reference) != _size(samples):
        limits.append(
            f"samples are {_size(samples)} but reference images {_size(reference)}; the difference is in the value"
        )
    if floor is not None and _size(floor) != _size(samples):
        limits.append(f"samples are {_size(samples)} but the images of the floor {_size(floor)}")
    if floor is not None and len(floor) < len(samples):
        limits.append(
            f"the floor comes from {len(floor)} real images, fewer than the {len(samples)} samples, so it is too high"
        )
    return limits


def _described(image_set: ImageSet) -> str:
    return f"{len(image_set)} images of {image_set.name} {image_set.split} ({_size(image_set)})"


def _size(image_set: ImageSet) -> str:
    channels, height, width = image_set.images.shape[1:]
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"
