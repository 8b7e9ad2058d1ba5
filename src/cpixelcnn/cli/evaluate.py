"""`cpixelcnn eval`."""

from __future__ import annotations

import dataclasses

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.loading import data_config, load_images, load_model, parse_prior, require_finite


def evaluate(
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
    json: o.Json = False,
) -> None:
    """Score a model on a labelled split: accuracy, F1, confusion, calibration and bits per dimension."""
    from cpixelcnn.inference.evaluation import evaluate as evaluate_model

    chosen_prior = parse_prior(prior)
    loaded = load_model(model, device, raw_weights=raw_weights)
    config = data_config(loaded.config.data, dataset, data_dir, skip_bad=skip_bad)
    images = load_images(config, split, loaded, download=download)
    with console.activity("scoring") as progress:
        result = evaluate_model(loaded.model, images, prior=chosen_prior, batch_size=batch_size, progress=progress)
    require_finite(result.density)
    if result.missing:
        console.warn(result.missing)
    scores, density = result.scores, result.density
    if json:
        console.write_json(
            {
                "model": str(loaded.path),
                "dataset": images.name,
                "split": images.split,
                "n_images": len(images),
                "accuracy": scores and scores.accuracy,
                "accuracy_ci95": scores and list(scores.accuracy_ci95),
                "f1_macro": scores and scores.f1_macro,
                "confusion": scores and scores.confusion.tolist(),
                "bpd": density.bpd,
                "bpd_marginal": density.bpd_marginal,
                "bpd_stderr": density.stderr,
                "nll_posterior": scores and scores.nll_posterior,
                "ece": scores and scores.ece,
                "classes": list(images.classes),
                "data": dataclasses.asdict(config),
            }
        )
        return
    from cpixelcnn.report.tables import confusion_table, evaluation_table

    console.show(evaluation_table(f"{images.name}, {images.split} split", result))
    if scores is not None:
        console.show(confusion_table(scores, images.classes))
