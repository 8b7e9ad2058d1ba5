"""Features of several sets of images with one progress over all of them; those of real images are cached."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.errors import DataError
from cpixelcnn.fid.feature_sets import FeatureSet, load_features, save_features
from cpixelcnn.fid.features import BATCH_SIZE, FeatureNetwork, extract_features
from cpixelcnn.progress import Progress, silent


class Extractor:
    """A feature network at work.

    A cache that cannot be used costs time and a note, nothing else.

    Args:
        network: the feature network.
        device: where it runs.
        batch_size: how many images it takes at a time; matters to rounding only.
        progress: is told of the images done and of all that are expected.
        cache_dir: where features are kept; by default cpixelcnn/features under $XDG_CACHE_HOME or ~/.cache.

    Attributes:
        notes: trouble with the cache, one sentence each.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        device: str | torch.device = "cpu",
        batch_size: int = BATCH_SIZE,
        progress: Progress = silent,
        cache_dir: Path | None = None,
    ) -> None:
        self.network = network
        self.device = device
        self.batch_size = batch_size
        self.progress = progress
        self.cache_dir = default_cache_dir() if cache_dir is None else cache_dir
        self.notes: list[str] = []
        self._done = self._total = 0
        self._cached: dict[int, tuple[ImageSet, FeatureSet | None]] = {}  # by identity, which lasts with the set

    def expect(self, image_set: ImageSet, *, cached: bool = False) -> None:
        """Refuse a set that is too small before any work is done, and count its images as work to come.

        Args:
            cached: look for the features in the cache, and keep them there once they are computed.

        Raises:
            DataError: fewer than two images.
        """
        if id(image_set) in self._cached:
            return
        if len(image_set) < 2:
            raise DataError(
                f"a Frechet distance needs at least 2 images on either side, "
                f"but {image_set.name} ({image_set.split}) has {len(image_set)}"
            )
        found = self._find(image_set) if cached else None
        self._cached[id(image_set)] = (image_set, found)
        if found is None:
            self._total += len(image_set)

    def features(self, image_set: ImageSet, *, cached: bool = False) -> FeatureSet:
        """The features of a set; the argument and the errors are those of `expect`."""
        self.expect(image_set, cached=cached)
        found = self._cached.pop(id(image_set))[1]
        if found is not None:
            return found
        before = self._done

        def advance(done: int, total: int) -> None:
            self._done = before + done
            self.progress(self._done, self._total)

        features = extract_features(self.network, image_set.images, self.batch_size, self.device, advance)
        if not bool(features.isfinite().all()):
            raise DataError("the feature network gives numbers that are not finite; check its weights")
        feature_set = FeatureSet.of(image_set, features)
        if cached:
            self._keep(image_set, feature_set)
        return feature_set

    def _find(self, image_set: ImageSet) -> FeatureSet | None:
        path = self._path(image_set)
        if not os.path.exists(path):
            return None
        try:
            found = load_features(path, self.network).features
            if len(found) != len(image_set):
                raise DataError(f"{path} holds features of other images")
        except DataError as error:
            self.notes.append(f"cached features were computed anew: {error}")
            return None
        return FeatureSet.of(image_set, found)

    def _keep(self, image_set: ImageSet, feature_set: FeatureSet) -> None:
        path = self._path(image_set)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_features(path, feature_set, self.network)
        except (OSError, DataError) as error:
            self.notes.append(f"features of {feature_set.name} were not cached: {error}")

    def _path(self, image_set: ImageSet) -> Path:
        """A file whose name is the SHA-256 of everything on which the features depend."""
        network = self.network
        circumstances = (
            tuple(image_set.images.shape),
            network.name,
            network.dims,
            network.preprocessing,
            network.weights_digest,
        )
        digest = hashlib.sha256(repr(circumstances).encode())
        digest.update(image_set.images.cpu().contiguous().numpy().tobytes())
        return self.cache_dir / f"{digest.hexdigest()}.npz"


def default_cache_dir() -> Path:
    """The directory of cached features (XDG base directory specification, which ignores relative paths)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "cpixelcnn" / "features"
