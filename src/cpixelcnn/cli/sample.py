"""`cpixelcnn sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpixelcnn.cli import console
from cpixelcnn.cli import options as o
from cpixelcnn.cli.loading import load_model
from cpixelcnn.errors import ConfigError

OutFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for the images, the grid and the manifest.")]
Classes = Annotated[
    list[str] | None,
    typer.Option("--class", "-c", help="A class by name or number, or all; may be repeated.", show_default="all"),
]
PerClass = Annotated[int, typer.Option("--per-class", "-k", min=1, help="Images of each class.")]
Seed = Annotated[int, typer.Option("--seed", "-s", min=0, help="Seed; the same one gives the same images.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the samples that the folder holds.")]


def sample(
    model: o.Model = None,
    raw_weights: o.RawWeights = False,
    classes: Classes = None,
    per_class: PerClass = 4,
    seed: Seed = 0,
    out: OutFolder = Path("out"),
    overwrite: Overwrite = False,
    batch_size: o.BatchSizeForInference = 64,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Draw images from a model, exactly, pixel by pixel."""
    from cpixelcnn.data.finding import GRID
    from cpixelcnn.data.sample_folder import SampleOrigin, check_output_folder, write_samples
    from cpixelcnn.inference.sampling import sample as sample_images
    from cpixelcnn.report.pictures import save_grid
    from cpixelcnn.storage import file_digest

    loaded = load_model(model, device, raw_weights=raw_weights)
    config = loaded.config.model
    if classes and not config.conditional:
        raise ConfigError("--class: this model is unconditional and draws no particular class; leave the option out")
    wanted = _wanted_labels(classes, config.classes) if config.conditional else [-1]
    check_output_folder(out, overwrite=overwrite)
    labels = [label for label in wanted for _ in range(per_class)]
    with console.activity("sampling", "pixels") as progress:
        samples = sample_images(loaded.model, labels, seed=seed, batch_size=batch_size, progress=progress)
    origin = SampleOrigin(str(loaded.path), file_digest(loaded.path), config.classes, loaded.config.data)
    write_samples(out, samples.images, samples.labels, samples.seeds, origin)
    save_grid(out / GRID, samples.images, columns=per_class)
    names = [config.classes[label] if config.conditional else None for label in samples.labels.tolist()]
    if json:
        console.write_json(
            {
                "out": str(out),
                "n_images": len(labels),
                "labels": samples.labels.tolist(),
                "classes": names,
                "seeds": list(samples.seeds),
                "seconds": samples.seconds,
            }
        )
        return
    from cpixelcnn.report.tables import facts

    rows = [
        ("images", str(len(labels))),
        ("classes", ", ".join(dict.fromkeys(name or "(unconditional)" for name in names))),
        ("time", f"{console.duration(samples.seconds)}, {samples.seconds / len(labels):.2f} s an image"),
        ("grid", str(out / GRID)),
        ("manifest", str(out / "manifest.json")),
    ]
    console.show(facts(f"samples in {out}", rows))


def _wanted_labels(asked: list[str] | None, classes: tuple[str, ...]) -> list[int]:
    """Labels of the classes that were asked for by name or number, in that order."""
    labels: list[int] = []
    for name in asked or ["all"]:
        if name == "all":
            labels += range(len(classes))
        elif name in classes:
            labels.append(classes.index(name))
        elif name.isascii() and name.isdigit() and int(name) < len(classes):
            labels.append(int(name))
        else:
            raise ConfigError(f"--class {name!r} is not known to this model; its classes are: {', '.join(classes)}")
    return list(dict.fromkeys(labels))
