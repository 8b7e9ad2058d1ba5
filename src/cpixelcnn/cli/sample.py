"""`cpixelcnn sample`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli import sample_options as so
from cpixelcnn.cli.setup import LoadedModel, load_model, read_images_for, shared_work
from cpixelcnn.datasets.image_files import MANIFEST
from cpixelcnn.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from torch import Tensor

    from cpixelcnn.sampling.completion import Completions
    from cpixelcnn.sampling.folder.fill import Filled
    from cpixelcnn.sampling.folder.store import SampleRequest, SampleStore
    from cpixelcnn.sampling.sample import SamplePlan

GRID_COLUMNS, GRID_LINES = 16, 32  # at most, in the picture of all samples


def sample(
    model: o.Model = None,
    raw_weights: o.RawWeights = False,
    classes: so.Classes = None,
    per_class: so.PerClass = 4,
    seed: so.Seed = 0,
    batch_size: o.BatchSizeForInference = 64,
    device: o.Device = "auto",
    json: o.Json = False,
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
    overwrite: so.Overwrite = False,
) -> None:
    """Draw images from a model, exactly, pixel by pixel; interrupted, the same command goes on.

    Under torchrun the images are divided among the processes.
    """
    from cpixelcnn.sampling.folder.fill import fill_folder
    from cpixelcnn.sampling.folder.store import SampleStore
    from cpixelcnn.sampling.options import SamplingOptions

    options = SamplingOptions(sampler, precision, mixture_temperature, scale_temperature, guidance)
    if from_row is not None and not complete:
        raise ConfigError("--from-row needs images to complete; name them with --complete")
    if guidance_model is not None and not guidance:
        raise ConfigError("--guidance-model needs a weight; pass --guidance 1, for example")
    with shared_work() as processes:
        with processes.together():
            loaded = load_model(model, device, raw_weights=raw_weights, local_rank=processes.local_rank)
            marginal = None
            if guidance_model is not None:
                marginal = load_model(guidance_model, device, raw_weights=raw_weights, local_rank=processes.local_rank)
            asked = _labels_of(classes, loaded.config.model.classes)
            if not options.exact:
                console.info("note       these are not draws from the model's own distribution (temperature, guidance)")
            completions = _read_completions(complete, loaded, asked, per_class, from_row) if complete else None
            wanted = _order(loaded, asked, per_class, seed, completions)
            request = _request(loaded, marginal, options.to_json(), wanted, completions, format)
            if processes.is_main:
                store = SampleStore.open(out, request, overwrite=overwrite)
        if not processes.is_main:
            store = SampleStore.open(out, request, leader=False)
        with console.activity("sampling", unit="rows", rate=("images/s", loaded.config.model.image_height)) as progress:
            try:
                filled = fill_folder(
                    store,
                    loaded.model,
                    wanted,
                    options=options,
                    marginal=None if marginal is None else marginal.model,
                    batch_size=batch_size,
                    processes=processes,
                    progress=progress,
                )
            except KeyboardInterrupt:
                safe = f"{len(wanted) - len(store.missing())} of {len(wanted)} images are safe in {out}"
                raise Interrupted(f"stopped; {safe}, and the same command goes on with the others") from None
        if processes.is_main:
            _show(store, wanted, completions, filled, as_json=json)


def _labels_of(asked: list[str] | None, classes: tuple[str, ...]) -> list[int] | None:
    """Labels of the classes that were asked for by name or number, in that order; None where none were."""
    if asked is None:
        return None
    if not classes:
        raise ConfigError("--class: this model is unconditional and draws no particular class; leave the option out")
    labels: list[int] = []
    for text in asked:
        for name in [text] if text in classes else text.split(","):
            if name == "all":
                labels += range(len(classes))
            elif name in classes:
                labels.append(classes.index(name))
            elif name.isascii() and name.isdigit() and int(name) < len(classes):
                labels.append(int(name))
            else:
                raise ConfigError(f"--class {name!r} is not known to this model; its classes are: {', '.join(classes)}")
    return list(dict.fromkeys(labels))


def _read_completions(
    paths: list[Path], loaded: LoadedModel, asked: list[int] | None, per_class: int, from_row: int | None
) -> Completions:
    from cpixelcnn.sampling.completion import plan_completions

    inputs, _ = read_images_for(loaded, paths, skip_bad=False)
    return plan_completions(inputs, loaded.config.model, asked=asked, per_class=per_class, from_row=from_row)


def _order(
    loaded: LoadedModel, asked: list[int] | None, per_class: int, seed: int, completions: Completions | None
) -> SamplePlan:
    from cpixelcnn.sampling.sample import order

    config = loaded.config.model
    if completions is not None:
        given, from_row = completions.images, completions.from_row
        return order(config, completions.labels, seed=seed, given=given, from_row=from_row)
    every = range(config.nr_classes) if config.conditional else [-1]
    return order(config, [label for label in asked or every for _ in range(per_class)], seed=seed)


def _request(
    loaded: LoadedModel,
    marginal: LoadedModel | None,
    settings: dict[str, Any],
    wanted: SamplePlan,
    completions: Completions | None,
    format: str,
) -> SampleRequest:
    """All that decides which images the folder will hold."""
    from cpixelcnn.sampling.folder.store import SampleRequest
    from cpixelcnn.storage import file_digest

    if marginal is not None:
        settings["guidance_model_sha256"] = file_digest(marginal.path)
    if completions is not None:
        pixels = completions.images.numpy().tobytes()
        settings |= {"from_row": completions.from_row, "given_sha256": hashlib.sha256(pixels).hexdigest()}
    config = loaded.config.model
    return SampleRequest(
        model=str(loaded.path),
        model_sha256=file_digest(loaded.path),
        classes=config.classes,
        data=loaded.config.data,
        image_shape=(config.image_channels, config.image_height, config.image_width),
        settings=settings,
        format=format,
        labels=tuple(wanted.labels.tolist()),
        seeds=wanted.seeds,
        given=None if completions is None else completions.names,
    )


def _show(
    store: SampleStore, wanted: SamplePlan, completions: Completions | None, filled: Filled, *, as_json: bool
) -> None:
    """Write the grid, and tell what there is."""
    from cpixelcnn.cli.tables import facts

    request = store.request
    save_overview(store.grid, store.images(), wanted, completions, request.classes)
    names = [request.classes[label] if label >= 0 else None for label in request.labels]
    if as_json:
        console.write_json(
            {
                "out": str(store.folder),
                "n_images": len(names),
                "n_drawn": filled.n_drawn,
                "labels": list(request.labels),
                "classes": names,
                "seeds": list(request.seeds),
                "settings": request.settings,
                "seconds": filled.seconds,
            }
        )
        return
    rows = [
        ("images", str(len(names))),
        ("classes", ", ".join(dict.fromkeys(name or "(unconditional)" for name in names))),
        ("drawn now", f"{filled.n_drawn} in {console.duration(filled.seconds)}"),
        ("grid", str(store.grid)),
        ("manifest", str(store.folder / MANIFEST)),
    ]
    console.print_result(facts(f"samples in {store.folder}", rows))


def save_overview(
    path: Path, images: Tensor, wanted: SamplePlan, completions: Completions | None, classes: tuple[str, ...]
) -> None:
    """Write the grid: the first of every class, or completions beside what they complete."""
    from cpixelcnn.plots.grids import completion_page, save_grid

    def name(label: int) -> str:
        return classes[label] if label >= 0 else ""

    labels = wanted.labels.tolist()
    if completions is not None:
        per_line = completions.per_line
        some = min(len(images) // per_line, GRID_LINES) * per_line
        page = completion_page(completions.images[:some], images[:some], wanted.from_row, per_line)
        captions = [name(label) for label in labels[:some:per_line]]
        headings = ["image", "kept", *(f"drawn {i + 1}" for i in range(per_line))]
        save_grid(path, page, per_line + 2, captions=captions, headings=headings)
        return
    per_class = len(images) // len(set(labels))
    columns = min(per_class, GRID_COLUMNS)
    shown = images.view(-1, per_class, *images.shape[1:])[:, :columns].flatten(0, 1)
    save_grid(path, shown, columns, captions=[name(label) for label in labels[::per_class]])
