"""`cpixelcnn sample`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli import sample_options as so
from cpixelcnn.cli.setup import LoadedModel, load_model, read_images_for, shared_work
from cpixelcnn.datasets.image_files import GRID, MANIFEST, STRIP
from cpixelcnn.errors import BadImagesError, ConfigError, Interrupted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cpixelcnn.config import ModelConfig
    from cpixelcnn.datasets.image_set import ImageSet
    from cpixelcnn.sampling.folder.fill import Filled
    from cpixelcnn.sampling.folder.manifest import Origin
    from cpixelcnn.sampling.folder.store import SampleStore
    from cpixelcnn.sampling.plan import SamplePlan

GRID_COLUMNS, GRID_LINES = 16, 32  # at most, in the picture of all samples


def sample(
    model: o.Model = None,
    raw_weights: o.RawWeights = False,
    classes: so.Classes = None,
    per_class: so.PerClass = 4,
    seed: so.Seed = 0,
    batch_size: o.BatchSizeForInference = 64,
    device: o.Device = "auto",
    sampler: so.Sampler = "incremental",
    precision: so.Precision = "float32",
    mixture_temperature: so.MixtureTemperature = 1.0,
    scale_temperature: so.ScaleTemperature = 1.0,
    guidance: so.Guidance = 0.0,
    guidance_model: so.GuidanceModel = None,
    complete: so.Complete = None,
    from_row: so.FromRow = None,
    out: so.Out = Path("out"),
    format: so.Format = "png",
    strip: so.Strip = False,
    overwrite: so.Overwrite = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw images from a model, exactly, pixel by pixel; interrupted, the same command goes on.

    Into a folder that holds some of the images already, the others are added: pass a larger --per-class for more.
    Under torchrun the images are divided among the processes.
    """
    from cpixelcnn.datasets.image_set import UNLABELLED
    from cpixelcnn.runs.models import PHOTOGRAPHS_MODEL
    from cpixelcnn.sampling.completion import plan_completions
    from cpixelcnn.sampling.folder.fill import fill_folder
    from cpixelcnn.sampling.folder.store import SampleStore
    from cpixelcnn.sampling.options import SamplingOptions
    from cpixelcnn.sampling.plan import plan_samples

    options = SamplingOptions(sampler, precision, mixture_temperature, scale_temperature, guidance)
    if from_row is not None and not complete:
        raise ConfigError("--from-row needs images to complete; name them with --complete")
    if guidance_model is not None and not guidance:
        raise ConfigError("--guidance-model needs a weight; pass --guidance 1, for example")
    with shared_work() as processes:
        with processes.together():
            loaded = load_model(
                model,
                device,
                raw_weights=raw_weights,
                local_rank=processes.local_rank,
                fallback=PHOTOGRAPHS_MODEL,
            )
            unconditional = None
            if guidance_model is not None:
                unconditional = load_model(
                    guidance_model, device, raw_weights=raw_weights, local_rank=processes.local_rank
                )
            if not options.exact:
                console.info("note       these are not draws from the model's own distribution (temperature, guidance)")
            config = loaded.config.model
            asked = _labels_of(classes, config)
            if complete:
                given = _read_given(loaded, complete)
                plan = plan_completions(
                    given, config, classes=asked, per_class=per_class, from_row=from_row, seed=seed, options=options
                )
            else:
                every = range(config.nr_classes) if config.conditional else [UNLABELLED]
                # One of each class, then another: more per class continue the list, with the same seeds.
                labels = [*(every if asked is None else asked)] * per_class
                plan = plan_samples(config, labels, seed=seed, options=options)
            origin = _origin(loaded, unconditional)
            if processes.is_main:
                store = SampleStore.open(out, plan, origin, format=format, overwrite=overwrite)
        if not processes.is_main:
            store = SampleStore.open(out, plan, origin, format=format, is_main=False)
        rate = ("images/s", config.image_height)
        with console.activity("sampling", unit="rows", rate=rate) as progress, _warnings_as_lines():
            try:
                filled = fill_folder(
                    store,
                    loaded.model,
                    unconditional=None if unconditional is None else unconditional.model,
                    batch_size=batch_size,
                    processes=processes,
                    progress=progress,
                )
            except KeyboardInterrupt:
                safe = f"{len(plan) - len(store.missing())} of {len(plan)} images are safe in {out}"
                raise Interrupted(f"stopped; {safe}, and the same command goes on with the others") from None
        if processes.is_main:
            store.write_picture(GRID, _overview(store, per_class))
            if strip:
                store.write_picture(STRIP, _strip(store))
            _show(store, filled, strip=strip, as_json=json)


def _labels_of(asked: list[str] | None, config: ModelConfig) -> list[int] | None:
    """Labels of the classes that were asked for by name or number, in that order; None where none were."""
    from cpixelcnn.datasets.image_set import find_class
    from cpixelcnn.sampling.plan import label_of

    if asked is None:
        return None
    if not config.conditional:
        raise ConfigError("--class: this model is unconditional and draws no particular class; leave the option out")
    labels: list[int] = []
    for text in asked:
        for name in [text] if find_class(text, config.classes) is not None else text.split(","):
            if name == "all":
                labels += range(config.nr_classes)
            elif find_class(name, config.classes) is None and name.isascii() and name.isdigit():
                if int(name) >= config.nr_classes:
                    raise ConfigError(f"--class {name}: the model has {config.nr_classes} classes, counted from 0")
                labels.append(int(name))
            else:
                labels.append(label_of(config, name))
    return list(dict.fromkeys(labels))


def _read_given(loaded: LoadedModel, paths: list[Path]) -> ImageSet:
    """The images to complete, all of them."""
    try:
        return read_images_for(loaded, paths, skip_bad=False).images
    except BadImagesError as error:
        raise BadImagesError(error.failures, "repair them, or leave them out of --complete") from None


def _origin(loaded: LoadedModel, unconditional: LoadedModel | None) -> Origin:
    from cpixelcnn.sampling.folder.manifest import Origin
    from cpixelcnn.storage import file_digest

    guidance = None if unconditional is None else file_digest(unconditional.path)
    return Origin(str(loaded.path), file_digest(loaded.path), loaded.config.data, guidance)


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Show the warnings of the library as lines for people, without the place in the source."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: console.warn(str(message))
        yield


def _overview(store: SampleStore, per_class: int) -> NDArray[np.uint8]:
    """The first images of every class in a row, or completions beside what they complete."""
    from cpixelcnn.plots.grids import completion_page, grid

    plan = store.plan
    if plan.given is None and not plan.config.conditional:
        n = min(len(plan), GRID_COLUMNS * GRID_LINES)
        return grid(store.images(range(n)), min(GRID_COLUMNS, math.isqrt(n - 1) + 1))
    nr_lines = len(plan) // per_class
    lines, columns = range(min(nr_lines, GRID_LINES)), min(per_class, GRID_COLUMNS)
    images = store.images([line + column * nr_lines for line in lines for column in range(columns)])
    captions = _class_names(plan, lines)
    if plan.given is None:
        return grid(images, columns, captions=captions)
    page = completion_page(plan.given[: len(lines)], images, plan.from_row)
    return grid(page, columns + 2, captions=captions, headings=["original", "given", "completions"])


def _strip(store: SampleStore) -> NDArray[np.uint8]:
    """The first image of every class while it is drawn, row by row."""
    from cpixelcnn.plots.grids import drawing_stages, grid

    plan = store.plan
    lines = range(min(len(dict.fromkeys(plan.labels)), GRID_LINES))
    page, rows = drawing_stages(store.images(lines), plan.from_row)
    return grid(page, len(rows), captions=_class_names(plan, lines), headings=[f"row {row}" for row in rows])


def _class_names(plan: SamplePlan, indices: Sequence[int]) -> list[str]:
    """The class of each image; empty where it has none."""
    return [plan.config.classes[plan.labels[i]] if plan.labels[i] >= 0 else "" for i in indices]


def _show(store: SampleStore, filled: Filled, *, strip: bool, as_json: bool) -> None:
    """Tell what there is."""
    from cpixelcnn.cli.tables import facts

    plan = store.plan
    names = [name or None for name in _class_names(plan, range(len(plan)))]
    if as_json:
        console.write_json(
            {
                "out": str(store.folder),
                "n_images": len(plan),
                "n_drawn": filled.n_drawn,
                "labels": list(plan.labels),
                "classes": names,
                "seeds": list(plan.seeds),
                "settings": store.manifest.settings,
                "seconds": filled.seconds,
            }
        )
        return
    rows = [
        ("images", str(len(plan))),
        ("classes", ", ".join(dict.fromkeys(name or "(unconditional)" for name in names))),
        ("drawn now", f"{filled.n_drawn} in {console.duration(filled.seconds)}"),
        ("grid", str(store.folder / GRID)),
        *([("strip", str(store.folder / STRIP))] if strip else []),
        ("manifest", str(store.folder / MANIFEST)),
    ]
    console.print_result(facts(f"samples in {store.folder}", rows))
