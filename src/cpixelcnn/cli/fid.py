"""`cpixelcnn fid`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.setup import data_config
from cpixelcnn.errors import ConfigError

if TYPE_CHECKING:
    from cpixelcnn.config import DataConfig
    from cpixelcnn.datasets.image_set import ImageSet

SamplesFolder = Annotated[
    Path,
    typer.Option(
        "--samples",
        metavar="PATH",
        help="Folder of samples, as `cpixelcnn sample` makes them, or of any images; or an npz file of them.",
    ),
]
Features = Annotated[
    str,
    typer.Option(
        "--features", metavar="NAME", help="auto, inception or efficientnet-lite0 (whose distance is not an FID)."
    ),
]
Dims = Annotated[
    int | None,
    typer.Option(
        "--dims",
        metavar="N",
        help="Dimensions of Inception's features: 64, 192, 768 or 2048 (the default). Asks for Inception.",
        show_default=False,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="File of Inception's weights (pt_inception-2015-12-05-6726825d.pth).",
        show_default=False,
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="PATH",
        help="A folder of images, or statistics (.npz with mu and sigma), instead of a data set.",
        show_default=False,
    ),
]
SaveStatistics = Annotated[
    Path | None,
    typer.Option(
        "--save-statistics",
        metavar="FILE",
        help="Also write the statistics of the reference to this .npz, for --reference another time.",
        show_default=False,
    ),
]
ReferenceSize = Annotated[
    int | None,
    typer.Option(
        "--reference-size",
        metavar="N",
        min=8,
        help="Height and width of the reference images; the samples' unless given (64: cpen455 as stored).",
        show_default=False,
    ),
]
Split = Annotated[
    str, typer.Option("--split", metavar="NAME", help="Split of the reference images: train, validation or test.")
]


def fid(
    samples: SamplesFolder,
    model: o.Model = None,
    features: Features = "auto",
    dims: Dims = None,
    weights: Weights = None,
    reference: Reference = None,
    save_statistics: SaveStatistics = None,
    reference_size: ReferenceSize = None,
    split: Split = "test",
    dataset: o.Dataset = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    batch_size: o.BatchSizeForInference = 50,
    device: o.Device = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Frechet distance between samples and real images, by default the test split of the samples' data set."""
    from cpixelcnn.config import DataConfig
    from cpixelcnn.device import choose_device
    from cpixelcnn.fid.features import choose_features
    from cpixelcnn.fid.score import frechet_score
    from cpixelcnn.sampling.folder.reader import read_samples

    chosen = choose_device(device)
    console.info(f"device     {chosen.device} ({chosen.reason})")
    network = choose_features(features, dims, weights)
    console.info(f"features   {network.name}, {network.dims} dimensions; {network.weights_source}")
    for sentence in (network.fallback_reason, network.caveat):
        if sentence:
            console.warn(sentence)
    images, recorded = read_samples(samples)
    others = None
    against: ImageSet | Path
    if reference is None:
        stored = recorded or (_data_of_model(model) if dataset is None else DataConfig(dataset=dataset))
        config = data_config(stored, dataset, data_dir)
        config = dataclasses.replace(config, image_size=reference_size or images.images.shape[-1])
        against, others = _load_references(config, split, download)
    else:
        _refuse_together(dataset, data_dir, reference_size, split)
        against = _read_reference(reference)
    with console.activity("features") as progress:
        score = frechet_score(
            images,
            against,
            network,
            floor_images=others,
            device=chosen.device,
            batch_size=batch_size,
            progress=progress,
            statistics_file=save_statistics,
        )
    for warning in score.warnings:
        if warning not in (network.fallback_reason, network.caveat):  # said before the work began
            console.warn(warning)
    if save_statistics is not None:
        console.info(f"statistics {save_statistics}")
    if json:
        console.write_json(dataclasses.asdict(score))
        return
    from cpixelcnn.cli.tables import frechet_table

    console.print_result(frechet_table(score))


def _data_of_model(model: str | None) -> DataConfig:
    """The data set that a model was trained on."""
    from cpixelcnn.model.weights import load_weights
    from cpixelcnn.runs.models import find_model

    found = find_model(model)
    console.info(f"model      {found.description}, for the data set that it names")
    return load_weights(found.path)[0].data


def _load_references(config: DataConfig, split: str, download: bool) -> tuple[ImageSet, ImageSet]:
    """The images of a split, and those of another one, for the floor."""
    from cpixelcnn.datasets.registry import load_split

    with console.activity("reading references") as progress:
        reference = load_split(config, split, download=download, progress=progress)
        others = load_split(config, "validation" if split == "train" else "train", download=download, progress=progress)
    return reference, others


def _read_reference(path: Path) -> ImageSet | Path:
    """The images of a folder; a file is left to be read as statistics."""
    from cpixelcnn.sampling.folder.reader import read_samples

    return dataclasses.replace(read_samples(path)[0], split="images") if path.is_dir() else path


def _refuse_together(dataset: str | None, data_dir: str | None, reference_size: int | None, split: str) -> None:
    others = {"--dataset": dataset, "--data-dir": data_dir, "--reference-size": reference_size}
    named = [flag for flag, value in others.items() if value is not None] + ["--split"] * (split != "test")
    if named:
        raise ConfigError(f"--reference takes the place of a data set; leave out {', '.join(named)}")
