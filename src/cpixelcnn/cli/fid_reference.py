"""Which real images `cpixelcnn fid` compares samples with: those that the options name, or the samples' own kind."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cpixelcnn.cli import console
from cpixelcnn.cli.setup import data_config
from cpixelcnn.errors import ConfigError

if TYPE_CHECKING:
    from cpixelcnn.config import DataConfig
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.fid.feature_sets import FeatureSet
    from cpixelcnn.fid.features import FeatureNetwork
    from cpixelcnn.fid.protocols import Protocol

    Real = ImageSet | FeatureSet


@dataclass(frozen=True)
class ReferenceOptions:
    """What the command line says of the real images; None where it says nothing."""

    reference: Path | None
    model: str | None
    dataset: str | None
    data_dir: str | None
    split: str | None
    size: int | None
    download: bool

    def find(
        self, samples: ImageSet, recorded: DataConfig | None, network: FeatureNetwork, protocol: Protocol | None
    ) -> tuple[Real | Path, Real | None]:
        """The reference, and real images apart from it for the floor.

        Args:
            samples: give the size that is not given otherwise.
            recorded: the data set that the samples' manifest names.
            network: whose features may have to take the place of images that are not here.
            protocol: may prescribe the data set and the size.
        """
        prescribed = protocol.reference_size if protocol else None
        if self.reference is not None:
            self._refuse_a_data_set()
            return _read_reference(self.reference), None
        config = data_config(self._stored(recorded), self.dataset, self.data_dir)
        if protocol is not None and protocol.dataset not in (None, config.dataset):
            raise ConfigError(
                f"--protocol {protocol.name} compares with images of {protocol.dataset}, but the samples are of "
                f"{config.dataset}; leave out --protocol, or name the images with --dataset {protocol.dataset}"
            )
        own_size = samples.images.shape[-1]
        config = dataclasses.replace(config, image_size=prescribed or self.size or own_size)
        split = self.split or "test"
        if self.dataset is None and self.data_dir is None and not _has_images(config):
            shipped = _shipped(config, split, network)
            if shipped is not None:
                return shipped
        return self._load(config, split, own_size)

    def are_shipped_alone(self, samples: Path, network: str) -> bool:
        """Whether the real images of a folder of samples are not here, but their features by that network are."""
        from cpixelcnn.fid.reference import has_shipped_features
        from cpixelcnn.sampling.folder.manifest import read_manifest

        named = (self.reference, self.model, self.dataset, self.data_dir)
        manifest = read_manifest(samples) if samples.is_dir() and named == (None,) * len(named) else None
        if manifest is None or manifest.origin.data is None or _has_images(manifest.origin.data):
            return False
        data = dataclasses.replace(manifest.origin.data, image_size=self.size or manifest.image_shape[-1])
        return has_shipped_features(data, self.split or "test", network)

    def _stored(self, recorded: DataConfig | None) -> DataConfig:
        from cpixelcnn.config import DataConfig

        if recorded is not None:
            return recorded
        return _data_of_model(self.model) if self.dataset is None else DataConfig(dataset=self.dataset)

    def _refuse_a_data_set(self) -> None:
        others = {
            "--dataset": self.dataset,
            "--data-dir": self.data_dir,
            "--reference-size": self.size,
            "--split": self.split,
        }
        named = [flag for flag, value in others.items() if value is not None]
        if named:
            raise ConfigError(f"--reference takes the place of a data set; leave out {', '.join(named)}")

    def _load(self, config: DataConfig, split: str, own_size: int) -> tuple[ImageSet, ImageSet]:
        """The images of a split, and those of another one at the samples' size: what a perfect model could make."""
        from cpixelcnn.datasets.registry import load_split

        other = "validation" if split == "train" else "train"
        with console.activity("reading references") as progress:
            reference = load_split(config, split, download=self.download, progress=progress)
            config = dataclasses.replace(config, image_size=own_size)
            others = load_split(config, other, download=self.download, progress=progress)
        return reference, others


def _data_of_model(model: str | None) -> DataConfig:
    """The data set that a model was trained on."""
    from cpixelcnn.model.weights import load_weights
    from cpixelcnn.runs.models import find_model

    found = find_model(model)
    console.info(f"model      {found.description}, for the data set that it names")
    return load_weights(found.path)[0].data


def _has_images(config: DataConfig) -> bool:
    """Whether the images of a data set can be here: it needs no directory, or has one."""
    from cpixelcnn.datasets.registry import dataset_info, expanded

    if not dataset_info(config.dataset).needs_data_dir:
        return True
    return config.data_dir is not None and os.path.exists(expanded(config.data_dir))


def _shipped(config: DataConfig, split: str, network: FeatureNetwork) -> tuple[FeatureSet, FeatureSet] | None:
    """Features that the package has of images that are not here."""
    from cpixelcnn.fid.reference import shipped_features

    found = shipped_features(config, split, network)
    if found is not None:
        console.info(
            f"references features of {found[0]} that come with the package; name the images themselves with --data-dir"
        )
    return found


def _read_reference(path: Path) -> ImageSet | Path:
    """The images of a folder; a file is left to be read as features or statistics."""
    from cpixelcnn.sampling.folder.reader import read_samples

    return dataclasses.replace(read_samples(path)[0], split="images") if path.is_dir() else path
