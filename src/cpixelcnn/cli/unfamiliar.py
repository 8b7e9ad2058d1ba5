"""`cpixelcnn eval --unfamiliar`: how well scores tell images of other kinds from the model's own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from cpixelcnn.cli import console
from cpixelcnn.cli.images_to_score import ImageChoice
from cpixelcnn.cli.learned import store
from cpixelcnn.cli.scoring import Scoring
from cpixelcnn.cli.setup import LoadedModel, load_images, read_images_for, shared_work
from cpixelcnn.cli.unfamiliar_options import UnfamiliarOptions
from cpixelcnn.errors import ConfigError, plural

if TYPE_CHECKING:
    from torch import Tensor

    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.distributed import Processes
    from cpixelcnn.evaluation.familiarity import Familiarity
    from cpixelcnn.evaluation.unfamiliar import Detection, Scores
    from cpixelcnn.model.network import PixelCNN


def tell_unfamiliar(
    model: str | None, choice: ImageChoice, scoring: Scoring, options: UnfamiliarOptions, *, json: bool
) -> None:
    """Score familiar and unfamiliar images, and learn a threshold where one is asked for."""
    from cpixelcnn.evaluation.familiarity import THRESHOLDS, fit_familiarity

    options.check()
    with shared_work() as processes:
        with processes.together():
            loaded = scoring.load(model, processes)
            if not loaded.config.model.conditional and options.fit:
                raise ConfigError("--fit-threshold is for classify, which needs a class-conditional model")
            local = None if options.local_model is None else scoring.load(options.local_model, processes).model
            validation, test = _familiar(choice, loaded, options.max_images)
            strangers = {name: _unfamiliar_images(name, loaded, choice, options.max_images) for name in options.data}
        work = _Work(loaded, options.names, local, scoring.batch_size, processes)
        typical = work.own(validation.images, f"{validation.name} (validation)")
        learned = None
        with processes.together():
            if options.fit is not None:
                learned = fit_familiarity(validation, typical, options.fit)
                if processes.is_main:
                    store(loaded, THRESHOLDS, learned)
        found = work.compare(test, strangers, float(typical.mean()), learned, show=not json) if strangers else {}
    if json:
        about = {"model": str(loaded.path), "threshold": learned and dataclasses.asdict(learned)}
        console.write_json(about | ({"unfamiliar": []} | found))
    elif learned is not None:
        console.print_result(
            f"threshold  {learned.score} {learned.threshold:.4f}: {100 * learned.accepted:.0f} % of "
            f"{plural(learned.n_images, 'image')} of {learned.dataset} ({learned.split}) lie below"
        )


def _print(facts: Mapping[str, Any], detected: Mapping[str, Detection]) -> None:
    title = f"{facts['data']}: {plural(facts['n_images'], 'image')}, {facts['bpd']:.3f} bits/dim"
    if "flagged" in facts:
        title += f", {100 * facts['flagged']:.1f} % above the threshold"
    console.print_result(detections_table(title, detected))


def detections_table(title: str, found: Mapping[str, Detection]) -> Table:
    """A row for each score."""
    table = Table(title=escape(title), title_justify="left")
    for heading in ("score", "AUROC", "95 % interval", "AUPR-in", "AUPR-out", "FPR95"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name, each in found.items():
        low, high = each.auroc_ci95
        numbers = (f"{value:.3f}" for value in (each.aupr_in, each.aupr_out, each.fpr95))
        table.add_row(name, f"{each.auroc:.3f}", f"{low:.3f} to {high:.3f}", *numbers)
    return table


@dataclass(frozen=True)
class _Work:
    """What computes scores, and says so; every process calls each method and gets the whole result."""

    loaded: LoadedModel
    names: tuple[str, ...]
    local: PixelCNN | None
    batch_size: int
    processes: Processes

    def own(self, images: Tensor, what: str) -> Scores:
        """Bits/dim of images under the model."""
        from cpixelcnn.evaluation.unfamiliar import image_bits

        with console.activity(f"scoring {what}") as progress:
            return image_bits(
                self.loaded.model, images, batch_size=self.batch_size, processes=self.processes, progress=progress
            )

    def scores(self, images: Tensor, what: str, typical_mean: float) -> tuple[dict[str, Scores], Scores]:
        """All scores of images, and their bits/dim."""
        from cpixelcnn.evaluation.code_lengths import code_lengths
        from cpixelcnn.evaluation.unfamiliar import outlier_scores

        bits = self.own(images, what)
        with console.activity(f"code lengths of {what}") as progress:
            references = code_lengths(
                self.loaded.model,
                images,
                self.names,
                local_model=self.local,
                batch_size=self.batch_size,
                processes=self.processes,
                progress=progress,
            )
        return outlier_scores(bits, typical_mean, references), bits

    def compare(
        self,
        test: ImageSet,
        strangers: Mapping[str, Tensor],
        typical_mean: float,
        learned: Familiarity | None,
        *,
        show: bool,
    ) -> dict[str, Any]:
        """How well each score tells each kind of strangers from the test images, for the JSON document."""
        from cpixelcnn.evaluation.unfamiliar import detections

        def flagged(bits: Scores, images: Tensor) -> dict[str, float]:
            if learned is None:
                return {}
            return {"flagged": float(learned.unfamiliar(learned.scores(bits, images)).mean())}

        familiar, own_bits = self.scores(test.images, f"{test.name} ({test.split})", typical_mean)
        shown = f"{test.name} ({test.split}), {float(own_bits.mean()):.3f} bits/dim"
        console.info(f"familiar   {plural(len(test), 'image')} of {shown}")
        about = {"dataset": test.name, "split": test.split, "n_images": len(test), "bpd": float(own_bits.mean())}
        found = []
        for name, images in strangers.items():
            outliers, bits = self.scores(images, name, typical_mean)
            detected = detections(familiar, outliers)
            facts = {"data": name, "n_images": len(images), "bpd": float(bits.mean()), **flagged(bits, images)}
            if show:
                _print(facts, detected)  # at once, so that an interruption loses nothing
            found.append(facts | {"scores": {key: dataclasses.asdict(each) for key, each in detected.items()}})
        return {"familiar": about | flagged(own_bits, test.images), "unfamiliar": found}


def _familiar(choice: ImageChoice, loaded: LoadedModel, n: int) -> tuple[ImageSet, ImageSet]:
    """Validation images, from which is learned what is typical, and others, of the split that is asked for."""
    split = "test" if choice.split == "auto" else choice.split
    validation = _some(dataclasses.replace(choice, split="validation").load(loaded)[0], 2 * n)
    if split != "validation":
        return _some(validation, n), _some(dataclasses.replace(choice, split=split).load(loaded)[0], n)
    half = len(validation) // 2
    return validation[:half], validation[half:]


def _some(images: ImageSet, n: int) -> ImageSet:
    """At most so many images, the same whenever this is called."""
    import torch

    if len(images) <= n:
        return images
    return images.select(torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:n])


def _unfamiliar_images(name: str, loaded: LoadedModel, choice: ImageChoice, n: int) -> Tensor:
    from cpixelcnn.config import DataConfig
    from cpixelcnn.datasets.compression import COMPRESSIONS
    from cpixelcnn.datasets.registry import DATASETS
    from cpixelcnn.evaluation.synthetic import SYNTHETIC

    if name in SYNTHETIC:
        return SYNTHETIC[name](loaded.config.model, n)
    dataset, _, directory = name.partition("=")
    if dataset in DATASETS:
        config = DataConfig(dataset=dataset, data_dir=directory or None)
        return _some(_of_any_class(config, loaded, download=choice.download), n).images
    if not os.path.isdir(name):
        known = ", ".join([*SYNTHETIC, *DATASETS])
        raise ConfigError(f"--unfamiliar {name} is neither a folder nor one of {known} (NAME, or NAME=DIR)")
    compression = COMPRESSIONS.get(loaded.config.data.dataset)  # as `classify` does it, whose threshold this is
    return _some(read_images_for(loaded, [Path(name)], skip_bad=True, compression=compression).images, n).images


def _of_any_class(config: Any, loaded: LoadedModel, *, download: bool) -> ImageSet:
    """The test split of a data set of other classes than the model's, at the model's size and in its colours."""
    without_classes = dataclasses.replace(loaded.config.model, early_fusion="none", film="none")
    stranger = dataclasses.replace(loaded, config=dataclasses.replace(loaded.config, model=without_classes))
    return load_images(config, "test", stranger, download=download)
