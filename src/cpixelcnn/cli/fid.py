"""`cpixelcnn fid`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from cpixelcnn.cli import console
from cpixelcnn.cli import fid_options as fo
from cpixelcnn.cli import options as o
from cpixelcnn.cli.fid_reference import ReferenceOptions
from cpixelcnn.cli.setup import check_data

if TYPE_CHECKING:
    from cpixelcnn.config import DataConfig
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.fid.features import FeatureNetwork
    from cpixelcnn.fid.protocols import Protocol


def fid(
    samples: fo.SamplesFolder,
    model: o.Model = None,
    protocol: fo.Protocol = None,
    features: fo.Features = "auto",
    dims: fo.Dims = None,
    weights: fo.Weights = None,
    reference: fo.Reference = None,
    save_statistics: fo.SaveStatistics = None,
    reference_size: fo.ReferenceSize = None,
    split: fo.Split = None,
    per_class: fo.PerClass = False,
    dataset: o.Dataset = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    batch_size: o.BatchSizeForInference = 50,
    device: o.Device = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Frechet distance between samples and real images, by default the test split of the samples' data set.

    Beside it: kernel distance, precision, recall, density and coverage, and what as many real images come to.
    """
    from cpixelcnn.device import choose_device
    from cpixelcnn.fid.features import EFFICIENTNET
    from cpixelcnn.fid.protocols import find_protocol, measured_by, require_equal_sizes
    from cpixelcnn.fid.score import frechet_score
    from cpixelcnn.sampling.folder.reader import require_samples

    require_samples(samples)
    check_data(split, dataset, data_dir, download=download)
    chosen = choose_device(device)
    console.info(f"device     {chosen.device} ({chosen.reason})")
    measure: Protocol | None = None
    if protocol is not None:
        measure = find_protocol(protocol, features=features, dims=dims, split=split, reference_size=reference_size)
        features, dims = "inception", measure.dims
    options = ReferenceOptions(reference, model, dataset, data_dir, split, reference_size, download)
    if features == "auto" and dims is None and weights is None and options.are_shipped_alone(samples, EFFICIENTNET):
        features = EFFICIENTNET  # Inception, too, would have nothing to compare with
    network = _choose_network(features, dims, weights)
    images, recorded = _read_samples(samples, measure)
    against, others = options.find(images, recorded, network, measure)
    if measure is not None:
        require_equal_sizes(measure, images, against)
    with console.activity("features") as progress:
        score = frechet_score(
            images,
            against,
            network,
            floor_images=others,
            per_class=per_class,
            device=chosen.device,
            batch_size=batch_size,
            progress=progress,
            statistics_file=save_statistics,
        )
    if measure is not None:
        score = measured_by(measure, score)
    for warning in score.warnings:
        if warning not in (network.fallback_reason, network.caveat):  # said before the work began
            console.warn(warning)
    if save_statistics is not None:
        console.info(f"statistics {save_statistics}")
    if json:
        console.write_json(dataclasses.asdict(score))
        return
    from cpixelcnn.cli.distance_tables import distance_tables

    console.print_result(*distance_tables(score))


def _choose_network(features: str, dims: int | None, weights: Path | None) -> FeatureNetwork:
    """The feature network, which is told before any image is read."""
    from cpixelcnn.fid.features import choose_features

    network = choose_features(features, dims, weights)
    console.info(f"features   {network.name}, {network.dims} dimensions; {network.weights_source}")
    for sentence in (network.fallback_reason, network.caveat):
        if sentence:
            console.warn(sentence)
    return network


def _read_samples(path: Path, protocol: Protocol | None) -> tuple[ImageSet, DataConfig | None]:
    """The samples that are compared, and the data set that their manifest names."""
    from cpixelcnn.fid.protocols import samples_of
    from cpixelcnn.sampling.folder.reader import read_samples

    images, recorded = read_samples(path)
    if protocol is None:
        return images, recorded
    chosen = samples_of(protocol, images)
    if len(chosen) < len(images):
        console.info(f"samples    the first {protocol.n_per_class} of each class, of {len(images)}")
    return chosen, recorded
