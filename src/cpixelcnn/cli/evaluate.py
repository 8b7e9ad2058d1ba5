"""`cpixelcnn eval`: what is asked for, of one model, several, or all checkpoints of a run."""

from __future__ import annotations

from dataclasses import replace

from cpixelcnn.cli import evaluate_options as e
from cpixelcnn.cli import options as o
from cpixelcnn.cli import unfamiliar_options as u
from cpixelcnn.cli.checkpoints import CheckpointOutput, score_run
from cpixelcnn.cli.compare import compare_models
from cpixelcnn.cli.evaluate_one import OneModelOutput, evaluate_one
from cpixelcnn.cli.fid_options import Weights
from cpixelcnn.cli.images_to_score import ImageChoice
from cpixelcnn.cli.output_files import check_output
from cpixelcnn.cli.pictures import Map, PictureOptions, Report
from cpixelcnn.cli.scoring import Scoring
from cpixelcnn.cli.setup import parse_prior
from cpixelcnn.cli.unfamiliar import tell_unfamiliar
from cpixelcnn.errors import ConfigError


def evaluate(
    runs: e.Runs = None,
    model: e.Models = None,
    raw_weights: o.RawWeights = False,
    samples: e.Samples = None,
    calibrate: e.Calibrate = None,
    split: o.Split = "auto",
    dataset: o.Dataset = None,
    data_dir: o.DataDir = None,
    skip_bad: o.SkipBad = None,
    download: o.Download = False,
    prior: o.Prior = "uniform",
    views: o.Views = 1,
    batch_size: o.BatchSizeForInference = 64,
    device: o.Device = "auto",
    save_log_likelihoods: e.SaveLogLikelihoods = None,
    all_checkpoints: e.AllCheckpoints = False,
    fid: e.Fid = None,
    weights: Weights = None,
    csv: e.Csv = None,
    map: Map = None,
    plots: o.Plots = None,
    report: Report = None,
    unfamiliar: u.Unfamiliar = None,
    scores: u.ScoreNames = "png,webp",
    local_model: u.LocalModel = None,
    fit_threshold: u.FitThreshold = None,
    max_images: u.MaxImages = u.MAX_IMAGES,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Score a model on a labelled split or on samples: accuracy, F1, confusion, calibration and bits per dimension.

    Several models are laid side by side and compared image by image. Under torchrun the images are divided among the
    processes.
    """
    from cpixelcnn.evaluation.views import check_views, crops_for

    scoring = Scoring(parse_prior(prior), views, batch_size, device, raw_weights)
    check_views(views)
    if calibrate is not None and (samples is not None or split != "auto"):
        raise ConfigError("--calibrate names the split to score; leave out --samples and --split")
    choice = ImageChoice(samples, calibrate or split, dataset, data_dir, skip_bad, download, crops_for(views))
    choice.check()
    check_output(save_log_likelihoods, "--save-log-likelihoods")

    models = [*(runs or []), *(model or [])]
    first = models[0] if models else None
    for_one = {"--calibrate": calibrate, "--save-log-likelihoods": save_log_likelihoods}
    for_one |= {"--map": map, "--report": report}
    if all_checkpoints:
        if len(models) > 1:
            raise ConfigError("--all-checkpoints is for one run; name one")
        e.refuse_for("one model", for_one)
        e.refuse_for("--fid", {"--weights": None if fid else weights})
        score_run(first, choice, scoring, CheckpointOutput(fid, weights, csv, plots, json))
        return
    if unfamiliar or fit_threshold:
        if len(models) > 1:
            raise ConfigError("--unfamiliar and --fit-threshold are for one model; name one")
        e.refuse_for("one model and its own scores", for_one | {"--samples": samples, "--plots": plots})
        names = u.parse_scores(scores, local_model)
        strangers = u.UnfamiliarOptions(unfamiliar or (), names, local_model, fit_threshold, max_images)
        tell_unfamiliar(first, replace(choice, crops=()), scoring, strangers, json=json)
        return
    e.refuse_for("--unfamiliar", {"--local-model": local_model})
    e.refuse_for("--all-checkpoints", {"--fid": fid, "--weights": weights, "--csv": csv})
    if len(models) > 1:
        e.refuse_for("one model", {**for_one, "--plots": plots})
        compare_models(models, choice, scoring, json=json)
        return
    pictures = PictureOptions(map, plots, report)
    evaluate_one(first, choice, scoring, OneModelOutput(calibrate is not None, save_log_likelihoods, pictures, json))
