"""`cpixelcnn fid`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.setup import data_config

if TYPE_CHECKING:
    import torch

    from cpixelcnn.config import DataConfig
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.fid.features import FeatureNetwork
    from cpixelcnn.fid.score import FrechetScore

SamplesFolder = Annotated[
    Path,
    typer.Option(
        "--samples",
        help="Folder of samples, as `cpixelcnn sample` makes them, or of any images; or an npz file of them.",
    ),
]
Features = Annotated[
    str, typer.Option("--features", help="auto, inception or efficientnet-lite0 (whose distance is not an FID).")
]
Dims = Annotated[int, typer.Option("--dims", help="Dimensions of Inception's features: 64, 192, 768 or 2048.")]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", help="File of Inception's weights (pt_inception-2015-12-05-6726825d.pth).", show_default=False
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option("--reference", help="Statistics (.npz with mu and sigma) instead of a data set.", show_default=False),
]
ReferenceSize = Annotated[
    int | None,
    typer.Option(
        "--reference-size",
        min=8,
        help="Height and width of the reference images; the samples' unless given (64: cpen455 as stored).",
        show_default=False,
    ),
]
Split = Annotated[str, typer.Option("--split", help="Split of the reference images: train, validation or test.")]


def fid(
    samples: SamplesFolder,
    model: o.Model = None,
    features: Features = "auto",
    dims: Dims = 2048,
    weights: Weights = None,
    reference: Reference = None,
    reference_size: ReferenceSize = None,
    split: Split = "test",
    dataset: o.Dataset = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    batch_size: o.BatchSizeForInference = 50,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Frechet distance between samples and real images, by default the test split of the samples' data set."""
    from cpixelcnn.config import DataConfig
    from cpixelcnn.device import choose_device
    from cpixelcnn.fid.features import choose_features
    from cpixelcnn.sampling.folder.reader import read_samples

    chosen = choose_device(device)
    console.info(f"device     {chosen.device} ({chosen.reason})")
    images, recorded = read_samples(samples)
    network = choose_features(features, dims, weights)
    if reference is None:
        stored = recorded or (_data_of_model(model) if dataset is None else DataConfig(dataset=dataset))
        config = data_config(stored, dataset, data_dir)
        size = reference_size or images.images.shape[-1]
        config = dataclasses.replace(config, image_size=size)
        score = _against_data_set(images, config, split, network, chosen.device, batch_size, download)
    else:
        score = _against_statistics(images, reference, network, chosen.device, batch_size)
    for warning in score.warnings:
        console.warn(warning)
    if json:
        console.write_json(dataclasses.asdict(score))
        return
    from cpixelcnn.cli.tables import frechet_table

    console.print_result(frechet_table(score))


def _data_of_model(model: str | None) -> DataConfig:
    """The data set that a model was trained on."""
    from cpixelcnn.runs.layout import find_model
    from cpixelcnn.runs.weights import load_weights

    found = find_model(model)
    console.info(f"model      {found.description}, for the data set that it names")
    return load_weights(found.path)[0].data


def _against_data_set(
    images: ImageSet,
    config: DataConfig,
    split: str,
    network: FeatureNetwork,
    device: torch.device,
    batch_size: int,
    download: bool,
) -> FrechetScore:
    """The distance from a split, with the floor that as many real images of another split have."""
    from cpixelcnn.datasets.registry import load_split
    from cpixelcnn.fid.score import frechet_score

    with console.activity("reading references") as progress:
        reference = load_split(config, split, download=download, progress=progress)
        others = load_split(config, "validation" if split == "train" else "train", download=download, progress=progress)
    with console.activity("features") as progress:
        return frechet_score(
            images, reference, network, floor_images=others, device=device, batch_size=batch_size, progress=progress
        )


def _against_statistics(
    images: ImageSet, reference: Path, network: FeatureNetwork, device: torch.device, batch_size: int
) -> FrechetScore:
    from cpixelcnn.fid.score import frechet_score

    with console.activity("features") as progress:
        return frechet_score(images, reference, network, device=device, batch_size=batch_size, progress=progress)
