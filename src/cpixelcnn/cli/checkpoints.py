"""`cpixelcnn eval RUN --all-checkpoints`: every checkpoint that a run has kept, on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cpixelcnn.cli import console
from cpixelcnn.cli.images_to_score import ImageChoice
from cpixelcnn.cli.output_files import check_folder, check_output, writing
from cpixelcnn.cli.scoring import Scoring
from cpixelcnn.cli.setup import shared_work
from cpixelcnn.errors import CheckpointError, ConfigError, plural

if TYPE_CHECKING:
    from cpixelcnn.cli.setup import LoadedModel
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.model.network import PixelCNN
    from cpixelcnn.runs.kept_checkpoints import CheckpointScores

SAMPLES_PER_CLASS = 25  # as the published cpen455 values have it


@dataclass(frozen=True)
class CheckpointOutput:
    """What is wanted of the checkpoints of a run besides their scores.

    Attributes:
        fid: "auto" for a distance with the best feature network there is, dimensions of Inception's features, or None.
        weights: the file of Inception's weights, unless they are in torch's cache or can be fetched.
        csv: a table.
        plots: a folder for the picture.
        json: whether the JSON document is printed instead of the table.
    """

    fid: str | None = None
    weights: Path | None = None
    csv: Path | None = None
    plots: Path | None = None
    json: bool = False

    def check(self) -> None:
        """Refuse what cannot be, before the work."""
        check_output(self.csv, "--csv")
        check_folder(self.plots, "--plots")
        from cpixelcnn.fid.features import INCEPTION_DIMS

        if self.fid not in (None, "auto", *map(str, INCEPTION_DIMS)):
            raise ConfigError(f"--fid {self.fid!r} is neither auto nor 64, 192, 768 or 2048")


def score_run(reference: str | None, choice: ImageChoice, scoring: Scoring, output: CheckpointOutput) -> None:
    """Score the kept checkpoints of a run, and write what is wanted after each of them, so that no score is lost."""
    from cpixelcnn.evaluation.checkpoints import score_checkpoints
    from cpixelcnn.runs.kept_checkpoints import find_run, kept_checkpoints

    output.check()
    with shared_work() as processes:
        with processes.together():
            run = find_run(reference)
            kept, damaged = kept_checkpoints(run, ema=not scoring.raw_weights)
            loaded = scoring.load(str(run), processes)
            images, config = choice.load(loaded)
            for sentence in damaged:
                _leave_out(sentence)
            if len(kept) == 1:
                console.warn(f"{run} has kept 1 checkpoint; train with --keep-checkpoints all to compare epochs")
            measure = None
            if processes.is_main and output.fid is not None:
                measure = _distance_to(images, output.fid, output.weights, loaded, scoring.batch_size)

        def distance(model: PixelCNN) -> tuple[str, float]:
            def measured() -> tuple[str, float]:
                assert measure is not None  # in the process that makes this
                return measure(model)

            return processes.broadcast(measured)

        title = f"{run.name}: {choice.title(images)}, {plural(len(images), 'image')}"
        scores: list[CheckpointScores] = []
        with console.activity("scoring checkpoints") as progress:

            def report(done: int, total: int) -> None:
                progress(len(scores) * total + done, len(kept) * total)

            def leave_out(sentence: str) -> None:
                damaged.append(sentence)
                _leave_out(sentence)

            for each in score_checkpoints(
                kept,
                images,
                distance=None if output.fid is None else distance,
                left_out=leave_out,
                prior=scoring.prior,
                views=scoring.views,
                batch_size=scoring.batch_size,
                device=loaded.device,
                processes=processes,
                progress=report,
            ):
                scores.append(each)
                with processes.together():
                    if processes.is_main and output.csv is not None:
                        _write_csv(output.csv, scores)
        with processes.together():
            if not scores:
                raise CheckpointError(f"no checkpoint of {run} could be scored: " + "; ".join(damaged))
            if processes.is_main:
                _write_files(output, scores, title, loaded.config.model.nr_classes)
    if output.json:
        about = {"run": str(run), "dataset": images.name, "split": images.split, "n_images": len(images)}
        rest = {"data": config and dataclasses.asdict(config), "views": scoring.views, "damaged": damaged}
        console.write_json(about | {"checkpoints": [dataclasses.asdict(each) for each in scores]} | rest)
        return
    console.print_result(scores_table(title, scores))


def _leave_out(sentence: str) -> None:
    console.warn(f"{sentence}; it is left out")


def scores_table(title: str, scores: Sequence[CheckpointScores]) -> Table:
    """A row for each checkpoint, no wider than 80 columns."""
    table = Table(title=escape(title), title_justify="left", caption_justify="left")
    distance = next((each.distance_name for each in scores if each.distance_name), None)
    headings = ["epoch", "accuracy, %", "95 % interval", "NLL, nats", "bits/dim"]
    if distance:
        headings.append("FID" if distance == "FID" else "distance")
        if distance != "FID":
            table.caption = f"distance by the features of {distance}, which is not an FID"
    for heading in headings:
        table.add_column(heading, justify="right")
    for each in scores:
        cells = ["", ""]
        if each.accuracy is not None and each.accuracy_low is not None and each.accuracy_high is not None:
            interval = f"{100 * each.accuracy_low:.1f} to {100 * each.accuracy_high:.1f}"
            cells = [f"{100 * each.accuracy:.1f}", interval]
        cells.append("" if each.nll_posterior is None else f"{each.nll_posterior:.3f}")
        cells.append(f"{each.bpd_marginal if each.bpd is None else each.bpd:.4f} ± {each.bpd_stderr:.4f}")
        if distance:
            cells.append("" if each.distance is None else f"{each.distance:.4g}")
        table.add_row(str(each.epoch), *cells)
    return table


def _distance_to(
    images: ImageSet, fid: str, weights: Path | None, loaded: LoadedModel, batch_size: int
) -> Callable[[PixelCNN], tuple[str, float]]:
    """The distance of a model's samples from these images; the same seeds for every model."""
    from cpixelcnn.fid.extractor import Extractor
    from cpixelcnn.fid.features import choose_features
    from cpixelcnn.fid.reference import prepare_reference
    from cpixelcnn.fid.score import score_model
    from cpixelcnn.progress import silent
    from cpixelcnn.sampling.sample import sample

    network = (
        choose_features("auto", None, weights) if fid == "auto" else choose_features("inception", int(fid), weights)
    )
    console.info(f"features   {network.name}, {network.dims} dimensions; {network.weights_source}")
    for sentence in (network.fallback_reason, network.caveat):
        if sentence:
            console.warn(sentence)
    extractor = Extractor(network, loaded.device, batch_size, silent, None)
    reference = prepare_reference(images, extractor)
    told: set[str] = set()

    def distance(model: PixelCNN) -> tuple[str, float]:
        score = score_model(
            model, lambda model, labels: sample(model, labels, seed=0).images, reference, extractor, SAMPLES_PER_CLASS
        )
        for warning in score.warnings:
            if warning not in told | {network.fallback_reason, network.caveat}:
                told.add(warning)
                console.warn(warning)
        return ("FID" if score.is_fid else score.features), score.value

    return distance


def _write_csv(path: Path, scores: Sequence[CheckpointScores]) -> None:
    from cpixelcnn.runs.kept_checkpoints import write_checkpoint_scores

    try:
        write_checkpoint_scores(path, scores)
    except OSError as error:
        raise ConfigError(f"--csv {path} cannot be written ({error.strerror or error}); choose another place") from None


def _write_files(output: CheckpointOutput, scores: Sequence[CheckpointScores], title: str, nr_classes: int) -> None:
    if output.csv is not None:
        console.info(f"written    {output.csv} ({plural(len(scores), 'row')})")
    if output.plots is not None:
        from cpixelcnn.plots.checkpoint_curves import draw_checkpoint_curves
        from cpixelcnn.plots.figures import save_figure

        path = output.plots / "checkpoints.png"
        with writing(path, "--plots"):
            output.plots.mkdir(parents=True, exist_ok=True)
            save_figure(path, draw_checkpoint_curves(scores, title=title, nr_classes=nr_classes))
