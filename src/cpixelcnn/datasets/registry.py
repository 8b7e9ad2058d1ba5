"""The data sets by name, and the one function that loads a split of any of them.

The table is plain Python: the loaders, and torch with them, are imported when images are wanted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cpixelcnn.config import OWN_ARRAYS, DataConfig
from cpixelcnn.errors import ConfigError, DataError, did_you_mean
from cpixelcnn.progress import Progress, silent

if TYPE_CHECKING:
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.datasets.listing import SplitRequest

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before it is loaded.

    Attributes:
        name: as `dataset` takes it.
        description: one line for people.
        channels: 3 (RGB) or 1 (grey).
        size: height and width of its images unless another size is asked for.
        needs_data_dir: whether it lies in a directory that the user names.
        downloadable: whether `download` can fetch it.
    """

    name: str
    description: str
    channels: int = 3
    size: int = 32
    needs_data_dir: bool = True
    downloadable: bool = False


DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo("embedded", "hamburger, panda, koala and pizza, drawn on demand", needs_data_dir=False),
        DatasetInfo("cpen455", "the course's photographs of the same four classes, with their csv files"),
        DatasetInfo("cifar10", "60,000 photographs of 10 classes", downloadable=True),
        DatasetInfo("cifar100", "60,000 photographs of 100 classes", downloadable=True),
        DatasetInfo("mnist", "70,000 handwritten digits, grey", channels=1, size=28, downloadable=True),
        DatasetInfo("fashion-mnist", "70,000 articles of clothing, grey", channels=1, size=28, downloadable=True),
        DatasetInfo("folder", "your own images, one sub-folder per class"),
    )
}


def dataset_info(name: str) -> DatasetInfo:
    """The entry of a data set.

    Raises:
        ConfigError: none of this name, which the message suggests or lists; or the images were arrays.
    """
    if name in DATASETS:
        return DATASETS[name]
    if name == OWN_ARRAYS:
        raise ConfigError(
            "the model was trained on arrays that no command can load again; name the images with `dataset`"
        )
    raise ConfigError(f"`dataset` {name} is not known; {did_you_mean(name, DATASETS, 'there are')}")


def load_split(config: DataConfig, split: str, *, download: bool = False, progress: Progress = silent) -> ImageSet:
    """Load one split of a data set into memory.

    Args:
        config: which data set, where, and how it is read.
        split: "train", "validation" or "test".
        download: whether missing files may be fetched, where torchvision knows from where.
        progress: told of every image.

    Returns:
        Images uint8 (N, C, H, W) of the size asked for, with labels; `origin` says how the split came about. In the
        train split, each image is followed by the `crops` that the configuration asks for.

    Raises:
        ConfigError: an unknown data set or split, or no `data_dir` where one is needed.
        DataError: files are missing, contradictory, or (`BadImagesError`) unreadable.
    """
    info = dataset_info(config.dataset)
    if split not in SPLITS:
        raise ConfigError(f"`split` {split} is not known; there are {', '.join(SPLITS)}")
    from cpixelcnn.datasets.listing import SplitRequest

    directory = _data_dir(config, info, download)
    size, channels = config.image_size or info.size, config.channels or info.channels
    image_set = _loader(info.name)(SplitRequest(config, split, directory, channels, size, download, progress))
    if split != "train" or not config.crops:
        return image_set
    from cpixelcnn.datasets.compression import COMPRESSIONS
    from cpixelcnn.datasets.photographs import with_random_crops

    compression = COMPRESSIONS.get(info.name)
    return with_random_crops(
        image_set, config.crops, seed=config.split_seed, compression=compression, progress=progress
    )


def expanded(directory: str) -> Path:
    """A directory as a user writes it, where ``~`` is the home of the user and ``~name`` that of another.

    Raises:
        DataError: there is no user of this name.
    """
    try:
        return Path(directory).expanduser()
    except RuntimeError:
        raise DataError(f"`data_dir` {directory} names the home of nobody; name an existing directory") from None


def _data_dir(config: DataConfig, info: DatasetInfo, download: bool) -> Path:
    if not info.needs_data_dir:
        if config.data_dir:
            raise ConfigError(
                f"`data_dir` {config.data_dir} is given, but the {info.name} data set lies in no directory; "
                f"name the kind of the images with `dataset`, such as folder"
            )
        return Path()
    if not config.data_dir:
        raise ConfigError(f"the data set {info.name} needs `data_dir`, the directory where it lies")
    directory = expanded(config.data_dir)
    remedy = f"name the directory of the {info.name} data set with `data_dir`"
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise DataError(f"{directory} is not a directory; {remedy}")
    if not os.path.exists(directory) and not (download and info.downloadable):
        raise DataError(f"{directory} does not exist; {remedy}")
    if os.path.exists(directory) and not os.access(directory, os.R_OK | os.X_OK):
        raise DataError(f"{directory} may not be read; change its permissions, or {remedy}")
    return directory


def _loader(name: str) -> Callable[[SplitRequest], ImageSet]:
    from cpixelcnn.datasets.cpen455 import load_cpen455
    from cpixelcnn.datasets.embedded import load_embedded
    from cpixelcnn.datasets.folder import load_folder
    from cpixelcnn.datasets.torchvision_sets import load_torchvision

    return {"embedded": load_embedded, "cpen455": load_cpen455, "folder": load_folder}.get(name, load_torchvision)
