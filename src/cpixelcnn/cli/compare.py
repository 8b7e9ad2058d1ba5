"""`cpixelcnn eval` of several models: side by side on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cpixelcnn.cli import console
from cpixelcnn.cli.images_to_score import ImageChoice
from cpixelcnn.cli.scoring import Scoring, document
from cpixelcnn.cli.setup import shared_work
from cpixelcnn.errors import plural

if TYPE_CHECKING:
    from cpixelcnn.evaluation.comparison import PairedComparison
    from cpixelcnn.evaluation.evaluate import Evaluation


def compare_models(models: Sequence[str], choice: ImageChoice, scoring: Scoring, *, json: bool) -> None:
    """Score each model on the images of the first, and every pair image by image."""
    from cpixelcnn.evaluation.comparison import compare_all, require_comparable

    with shared_work() as processes:
        with processes.together():
            all_loaded = [scoring.load(model, processes) for model in models]
            for loaded in all_loaded[1:]:
                require_comparable(all_loaded[0].config.model, loaded.config.model)
            images, config = choice.load(all_loaded[0])
        results = []
        for name, loaded in zip(models, all_loaded, strict=True):
            result = scoring.score(loaded, images, processes, f"scoring {name}")
            results.append((loaded.config.model, result))
    pairs = compare_all(results, images.labels)
    if missing := results[0][1].missing:
        console.warn(missing)
    if json:
        found = [
            {"model": str(loaded.path)} | document(result)
            for loaded, (_, result) in zip(all_loaded, results, strict=True)
        ]
        compared = [{"models": list(pair)} | dataclasses.asdict(result) for pair, result in pairs.items()]
        about = {"dataset": images.name, "split": images.split, "n_images": len(images), "views": scoring.views}
        rest = {"classes": list(images.classes), "data": config and dataclasses.asdict(config)}
        console.write_json({"models": found, "pairs": compared} | about | rest)
        return
    title = f"{choice.title(images)}, {plural(len(images), 'image')}"
    console.print_result(models_table(title, models, [result for _, result in results]), pairs_table(pairs))


def models_table(title: str, names: Sequence[str], results: Sequence[Evaluation]) -> Table:
    """A row for each model, numbered from 1."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    table.add_column("model", overflow="fold")
    for heading in ("accuracy, %", "F1, %", "NLL, nats", "bits/dim"):
        table.add_column(heading, justify="right")
    for number, (name, result) in enumerate(zip(names, results, strict=True), 1):
        scores, density = result.scores, result.density
        nll = scores and scores.nll_posterior
        cells = ["", "", ""]
        if scores is not None:
            low, high = scores.accuracy_ci95
            cells = [
                f"{100 * scores.accuracy:.1f}\n{100 * low:.1f} to {100 * high:.1f}",
                f"{100 * scores.f1_macro:.1f}",
            ]
            cells.append("infinite" if nll is None else f"{nll:.3f}")
        bits = density.bpd_marginal if density.bpd is None else density.bpd
        table.add_row(str(number), escape(name), *cells, f"{bits:.4f}\n± {density.stderr:.4f}")
    table.caption = (
        "accuracy with its 95 % interval; bits/dim "
        + ("over classes" if results[0].density.bpd is None else "given the class")
        + " with its standard error"
    )
    return table


def pairs_table(pairs: dict[tuple[int, int], PairedComparison]) -> Table:
    """A row for each pair of models."""
    table = Table(title="pairs on the same images", title_justify="left")
    for heading in (
        "pair",
        "differ",
        "only first right",
        "only second right",
        "McNemar's p",
        "bits/dim, second - first",
    ):
        table.add_column(heading, justify="right")
    for (i, j), found in pairs.items():
        right = ("" if n is None else str(n) for n in (found.only_first_right, found.only_second_right))
        difference = f"{found.bpd_difference:+.4f} ± {found.bpd_difference_stderr:.4f}"
        p_value = "" if found.p_value is None else f"{found.p_value:.2g}"
        table.add_row(f"{i + 1}, {j + 1}", str(found.n_different), *right, p_value, difference)
    return table
