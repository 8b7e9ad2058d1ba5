"""`cpixelcnn bpd`."""

from __future__ import annotations

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.findings import find_bits, title_of
from cpixelcnn.cli.output_files import check_output
from cpixelcnn.cli.pictures import Map, save_bits_map
from cpixelcnn.cli.setup import check_data, data_config, load_images, load_model, parse_prior, shared_work


def bpd(
    model: o.Model = None,
    raw_weights: o.RawWeights = False,
    split: o.Split = "auto",
    dataset: o.Dataset = None,
    data_dir: o.DataDir = None,
    skip_bad: o.SkipBad = None,
    download: o.Download = False,
    prior: o.Prior = "uniform",
    batch_size: o.BatchSizeForInference = 64,
    device: o.Device = "auto",
    map: Map = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Bits per dimension of a split: given the class, and marginal over the classes.

    Under torchrun the images are divided among the processes.
    """
    from cpixelcnn.evaluation.bits_per_dim import bits_per_dim

    chosen_prior = parse_prior(prior)
    check_output(map, "--map")
    with shared_work() as processes:
        with processes.together():
            check_data(split, dataset, data_dir, download=download)
            loaded = load_model(
                model, device, raw_weights=raw_weights, local_rank=processes.local_rank, dataset=dataset
            )
            config = data_config(loaded.config.data, dataset, data_dir, skip_bad=skip_bad)
            images = load_images(config, split, loaded, download=download)
        with console.activity("scoring", unit="images", count=len(images)) as progress:
            density = bits_per_dim(
                loaded.model,
                images.images,
                images.labels,
                prior=chosen_prior,
                batch_size=batch_size,
                processes=processes,
                progress=progress,
            )
        with processes.together():
            density.require_finite()
        title = f"{images.name}, {images.split} split"
        if map is not None:
            found = find_bits(loaded, images, prior=chosen_prior, batch_size=batch_size, processes=processes)
            with processes.together():
                if processes.is_main:
                    save_bits_map(map, found, title_of(loaded, title))
    if json:
        console.write_json(
            {
                "model": str(loaded.path),
                "dataset": images.name,
                "split": images.split,
                "bpd": density.bpd,
                "bpd_marginal": density.bpd_marginal,
                "stderr": density.stderr,
                "n_images": density.n_images,
            }
        )
        return
    from cpixelcnn.cli.tables import density_rows, facts

    rows = [("images", str(density.n_images)), *density_rows(density)]
    console.print_result(facts(title, rows))
