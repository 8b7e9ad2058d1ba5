"""Which images `cpixelcnn eval` scores: a split of a data set, or samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cpixelcnn.cli import console
from cpixelcnn.cli.setup import LoadedModel, check_data, data_config, load_images
from cpixelcnn.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cpixelcnn.config import DataConfig
    from cpixelcnn.datasets.crops import Crop
    from cpixelcnn.datasets.image_set import ImageSet


@dataclass(frozen=True)
class ImageChoice:
    """The options that name images.

    Attributes:
        samples: a folder or an npz file of samples, instead of a data set.
        split: of the data set, "auto" for the test split where it is labelled.
        dataset: that which the model was trained on unless given.
        data_dir: where it lies.
        skip_bad: whether bad files are left out.
        download: whether it may be fetched.
        crops: those that are wanted of each photograph as well.
    """

    samples: Path | None = None
    split: str = "auto"
    dataset: str | None = None
    data_dir: str | None = None
    skip_bad: bool | None = None
    download: bool = False
    crops: Sequence[Crop] = ()

    def check(self) -> None:
        """Refuse options that contradict each other, and names of nothing.

        Raises:
            ConfigError: samples and a data set, or an unknown name.
            DataError: no such directory or samples.
        """
        others = {"--split": self.split != "auto", "--dataset": self.dataset, "--data-dir": self.data_dir}
        others |= {"--skip-bad": self.skip_bad is not None, "--download": self.download}
        if self.samples is not None and (
            named := [flag for flag, given in others.items() if given not in (None, False)]
        ):
            raise ConfigError(f"--samples takes the place of a data set; leave out {', '.join(named)}")
        check_data(self.split, self.dataset, self.data_dir, download=self.download)

    def load(self, loaded: LoadedModel) -> tuple[ImageSet, DataConfig | None]:
        """The images at the model's size with its classes, and how they were read, where that is known."""
        if self.samples is not None:
            images, recorded = _load_samples(self.samples, loaded)
            return self._with_crops(images, loaded), recorded
        config = data_config(loaded.config.data, self.dataset, self.data_dir, skip_bad=self.skip_bad)
        images = load_images(config, self.split, loaded, download=self.download)
        return self._with_crops(images, loaded), config

    def _with_crops(self, images: ImageSet, loaded: LoadedModel) -> ImageSet:
        """The images with the crops that are wanted; a model without classes looks at none."""
        if not self.crops or not loaded.config.model.conditional:
            return images
        from cpixelcnn.datasets.compression import COMPRESSIONS
        from cpixelcnn.datasets.photographs import with_crops

        with console.activity("cutting corners") as progress:
            found = with_crops(images, self.crops, COMPRESSIONS.get(loaded.config.data.dataset), progress)
        for note in found.notes[len(images.notes) :]:
            console.info(f"note       {note}")
        return found

    def title(self, images: ImageSet) -> str:
        """What stands above results."""
        return f"{images.name}, {images.split} split" if self.samples is None else f"samples in {images.name}"


def _load_samples(path: Path, loaded: LoadedModel) -> tuple[ImageSet, DataConfig | None]:
    """Samples that suit the model, with the data that they were learned from, where their manifest tells."""
    from cpixelcnn.datasets.image_set import match_classes
    from cpixelcnn.sampling.folder.reader import read_samples

    model = loaded.config.model
    images, recorded = read_samples(path)
    channels, height, width = images.images.shape[1:]
    if (channels, height, width) != (model.image_channels, model.image_height, model.image_width):
        raise DataError(
            f"--samples {path} holds images of {_size(channels, height, width)}, but the model is for "
            f"{_size(model.image_channels, model.image_height, model.image_width)}; choose a --model of their size"
        )
    if not model.conditional:
        return images, recorded
    if not images.labelled:
        raise DataError(
            f"--samples {path} has images without a class, so there is nothing to score a classifier by; "
            "draw them from a class-conditional model with: cpixelcnn sample"
        )
    if not images.classes:
        console.info(f"classes    those of the model, by number, since {path} has no names for them")
        highest = int(images.labels.max())
        if highest >= model.nr_classes:
            raise DataError(
                f"--samples {path} has the label {highest}, but the model has only {model.nr_classes} classes; "
                "choose a --model of the same classes"
            )
    return match_classes(images, model.classes), recorded


def _size(channels: int, height: int, width: int) -> str:
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"
