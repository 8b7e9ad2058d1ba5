"""What samples are compared with: real images, their features, or their statistics alone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.fid.extractor import Extractor
from cpixelcnn.fid.feature_sets import FeatureSet, load_features
from cpixelcnn.fid.features import FeatureNetwork
from cpixelcnn.fid.frechet import GaussianStatistics, load_statistics
from cpixelcnn.foreign_files import UnreadableFileError, array_names


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images, as far as a comparison needs them.

    Attributes:
        statistics: mean and covariance of their features.
        features: the features themselves; None where a file keeps the statistics alone, so that nothing but the
            Frechet distance can be told.
        description: what the images are, for people.
        floor: real images apart from these, for what a perfect model could expect; None where there are none.
    """

    statistics: GaussianStatistics
    features: FeatureSet | None
    description: str
    floor: ImageSet | FeatureSet | None = None


def prepare_reference(
    source: ImageSet | FeatureSet | Path, extractor: Extractor, floor: ImageSet | FeatureSet | None = None
) -> Reference:
    """Extract what a comparison needs of the real images, which are cached; done once for any number of comparisons.

    Args:
        source: images, their features, or an npz file of features or of statistics (`mu`, `sigma`).
        floor: real images apart from the reference, such as the training images.

    Raises:
        DataError: fewer than two images, unsuitable images, or an unusable file.
    """
    network = extractor.network
    if isinstance(source, Path) and not _holds_features(source):
        statistics = load_statistics(source, network.dims)
        number = "an unknown number of" if statistics.n is None else statistics.n
        return Reference(statistics, None, f"the statistics in {source} (of {number} images)", floor)
    if isinstance(source, Path):
        source = load_features(source, network)
    features = source if isinstance(source, FeatureSet) else extractor.features(source, cached=True)
    return Reference(GaussianStatistics.from_features(features.features), features, str(features), floor)


def shipped_features(data: DataConfig, split: str, network: FeatureNetwork) -> tuple[FeatureSet, FeatureSet] | None:
    """Features of real images that come with the package, for a data set that has to be fetched.

    Returns:
        Those of the split, and those of other images, for the floor; None where the package has none of this data set
        at this size, of this split or of this network.

    Raises:
        DataError: a file of the package is damaged.
    """
    paths = _shipped_files(data, split, network.name)
    return (load_features(paths[0], network), load_features(paths[1], network)) if paths else None


def has_shipped_features(data: DataConfig, split: str, network: str) -> bool:
    """Whether `shipped_features` has those of the network of that name."""
    return _shipped_files(data, split, network) is not None


def _shipped_files(data: DataConfig, split: str, network: str) -> tuple[Path, Path] | None:
    directory = Path(str(resources.files("cpixelcnn"))) / "pretrained"
    files, floor = (
        directory / f"{data.dataset}-{name}-{data.image_size}-{network}.features.npz"
        for name in (split, f"{split}-floor")
    )
    return (files, floor) if files.is_file() and floor.is_file() else None


def _holds_features(path: Path) -> bool:
    """Whether a file looks like one of features; what is neither is left to the reader of statistics to refuse."""
    try:
        return "features" in array_names(path)
    except UnreadableFileError:
        return False
