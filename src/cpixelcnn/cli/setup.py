"""What the commands with a model do first: choose the device, find the model, say which, and load its data."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from cpixelcnn.cli import console
from cpixelcnn.errors import ConfigError, DataError, Interrupted, did_you_mean, plural
from cpixelcnn.signals import HANG_UP, TERMINATE, handling

if TYPE_CHECKING:
    import torch

    from cpixelcnn.config import DataConfig, RunConfig
    from cpixelcnn.datasets.compression import Compression
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.datasets.user_images import UserImages
    from cpixelcnn.distributed import Processes
    from cpixelcnn.model.network import PixelCNN


@contextmanager
def shared_work(timeout: timedelta | None = None) -> Iterator[Processes]:
    """While open, this process is joined with the others that torchrun started; all but the first keep silent.

    A process gives up when it has waited so long for another (half an hour unless given).
    """
    from cpixelcnn.distributed import TIMEOUT, joined_processes

    with joined_processes(timeout or TIMEOUT) as processes:
        console.silent = not processes.is_main
        yield processes


class _Stopped(BaseException):
    """A signal asked for the end; like KeyboardInterrupt, no `except Exception` takes it for a fault of the work."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ended_in_order(processes: Processes) -> Iterator[None]:
    """While open, SIGTERM and SIGHUP end the work in order, as an error does: what is begun is closed.

    Several processes are ended at once, since one that stops by itself would wait for the others.

    Raises:
        Interrupted: one of these signals came.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stopped(number)

    try:
        with handling((TERMINATE, *HANG_UP) if processes.alone else (), stop):
            yield
    except _Stopped as stopped:
        raise Interrupted("interrupted", stopped.number) from None


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for use, with what it was made from."""

    model: PixelCNN
    config: RunConfig
    path: Path
    device: torch.device


def load_model(
    reference: str | None,
    device: str,
    *,
    raw_weights: bool,
    local_rank: int = 0,
    dataset: str | None = None,
    images: Sequence[str] | None = None,
    fallback: str | None = None,
) -> LoadedModel:
    """Load the model that `--model` means and tell which it is.

    Where it means none, the choice depends on the data set or the images that it is for: see `find_model`.
    """
    from cpixelcnn.device import choose_device
    from cpixelcnn.runs.models import find_model, load_found

    chosen = choose_device(device, local_rank)
    console.info(f"device     {chosen.device} ({chosen.reason})")
    found = find_model(reference, ema=not raw_weights, dataset=dataset, images=images, fallback=fallback)
    for warning in found.warnings:
        console.warn(warning)
    console.info(f"model      {found.description}")
    model, config = load_found(found, chosen.device)
    console.info(f"trained on {_training_data(config)}")
    return LoadedModel(model, config, found.path, chosen.device)


def _training_data(config: RunConfig) -> str:
    """What a model has seen, in one line: it knows no other images, however sure its answers are."""
    model = config.model
    classes = f": {', '.join(model.classes)}" if model.conditional else ", without classes"
    size = f"{model.image_width}x{model.image_height} {'grey' if model.image_channels == 1 else 'RGB'}"
    return f"{config.data.dataset} ({size}){classes if len(classes) < 300 else f', {model.nr_classes} classes'}"


def data_config(stored: DataConfig, dataset: str | None, data_dir: str | None, **others: Any) -> DataConfig:
    """The data that a model was trained on, without crops, unless the command line names others."""
    changes = {"crops": 0} | {name: value for name, value in others.items() if value is not None}
    if data_dir is not None:
        changes["data_dir"] = data_dir
    if dataset is not None and dataset != stored.dataset:
        from cpixelcnn.config import DataConfig

        return DataConfig(**{"dataset": dataset, "image_size": stored.image_size, **changes})
    return dataclasses.replace(stored, **changes)


def check_data(
    split: str | None = None, dataset: str | None = None, data_dir: str | None = None, *, download: bool = False
) -> None:
    """Refuse a split, data set or directory that there is not, before a model or network is loaded; None is no name.

    Raises:
        ConfigError: no such split or data set.
        DataError: no such directory, where nothing may be fetched into it.
    """
    from cpixelcnn.datasets.registry import SPLITS, dataset_info, expanded

    if split is not None and split not in ("auto", *SPLITS):
        raise ConfigError(f"--split {split} is not known; {did_you_mean(split, ('auto', *SPLITS), 'there are')}")
    if dataset is not None:
        dataset_info(dataset)
    if data_dir is not None and not download and not os.path.exists(expanded(data_dir)):
        raise DataError(f"{data_dir} does not exist; name the directory of the data set with --data-dir")


def load_images(config: DataConfig, split: str, loaded: LoadedModel, *, download: bool) -> ImageSet:
    """One split at the model's image size; "auto" is the test split where it is labelled, else the validation split."""
    from cpixelcnn.datasets.image_set import match_classes
    from cpixelcnn.datasets.registry import load_split

    model = loaded.config.model
    config = dataclasses.replace(config, channels=model.image_channels)
    if model.image_height == model.image_width:
        config = dataclasses.replace(config, image_size=model.image_height)
    with console.activity("reading images") as progress:
        images = load_split(config, "test" if split == "auto" else split, download=download, progress=progress)
        replaced = split == "auto" and not images.labelled
        if replaced:
            images = load_split(config, "validation", download=download, progress=progress)
    if replaced:  # told now, since a line that is printed beside a bar leaves that behind
        console.info(f"split      validation, since the test split of {images.name} has no labels")
    if images.nr_skipped:
        console.warn(f"left out {plural(images.nr_skipped, 'image')} that cannot be read")
    if model.conditional:
        images = match_classes(images, model.classes)
    for note in images.notes:
        console.info(f"note       {note}")
    return images


def read_images_for(
    loaded: LoadedModel, paths: Sequence[Path], *, skip_bad: bool, compression: Compression | None = None
) -> UserImages:
    """Image files and folders that the command line names (``-``: on standard input), at the model's size."""
    from cpixelcnn.datasets.user_images import read_user_images

    config = loaded.config.model
    inputs = read_user_images(
        paths,
        classes=config.classes,
        channels=config.image_channels,
        height=config.image_height,
        width=config.image_width,
        skip_bad=skip_bad,
        compression=compression,
        standard_input=sys.stdin,
    )
    for note in inputs.images.notes:
        console.info(f"note       {note}")
    return inputs


def parse_prior(text: str) -> str | list[float]:
    """`--prior`: a name, or numbers separated by commas."""
    if text in ("uniform", "training", "estimated"):
        return text
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--prior {text!r} is neither uniform, training, estimated nor numbers such as 0.4,0.2,0.2,0.2"
        ) from None
