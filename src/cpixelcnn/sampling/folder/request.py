"""What a folder of samples is asked to hold, and the manifest that says so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.image_set import UNLABELLED
from cpixelcnn.errors import ConfigError
from cpixelcnn.sampling.folder.manifest import FORMATS, MANIFEST_VERSION, file_names


@dataclass(frozen=True)
class SampleRequest:
    """Everything that decides which images a folder will hold.

    Attributes:
        model: the weight file, for people; it may be called differently the next time.
        model_sha256: digest of the weight file.
        classes: names of the model's classes.
        data: the data that the model was trained on.
        image_shape: (C, H, W).
        settings: what makes an image again, together with its class and seed; plain JSON types.
        format: "png", a file an image, or "npz", one archive.
        labels: class of each image; -1 where the model is unconditional.
        seeds: seed of each image's noise.
        given: of completions, which image each completes.

    Raises:
        ConfigError: an unknown format.
    """

    model: str
    model_sha256: str
    classes: tuple[str, ...]
    data: DataConfig
    image_shape: tuple[int, int, int]
    settings: dict[str, Any]
    format: str
    labels: tuple[int, ...]
    seeds: tuple[int, ...]
    given: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        assert len(self.labels) == len(self.seeds), "one label and one seed an image"
        assert all(UNLABELLED <= label < len(self.classes) for label in self.labels), "labels of the classes"
        assert self.given is None or len(self.given) == len(self.labels), "one given image an image"
        if self.format not in FORMATS:
            raise ConfigError(f"--format {self.format!r} is not known; choose {' or '.join(FORMATS)}")

    def __len__(self) -> int:
        return len(self.labels)

    def manifest(self, *, finished: bool) -> dict[str, Any]:
        """The manifest of a folder with these images, in plain JSON types."""
        channels, height, width = self.image_shape
        entries: list[dict[str, Any]] = [
            {"class": self.classes[label] if label != UNLABELLED else None, "label": label, "seed": seed}
            for label, seed in zip(self.labels, self.seeds, strict=True)
        ]
        if self.format == "png":
            names = file_names(self.classes, self.labels)
            entries = [{"file": name} | entry for name, entry in zip(names, entries, strict=True)]
        if self.given is not None:
            entries = [entry | {"given": given} for entry, given in zip(entries, self.given, strict=True)]
        document = {
            "manifest_version": MANIFEST_VERSION,
            "image_channels": channels,
            "image_height": height,
            "image_width": width,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "classes": list(self.classes),
            "data": self.data.to_json(),
            "settings": self.settings,
            "format": self.format,
            "finished": finished,
            "images": entries,
        }
        return dict(json.loads(json.dumps(document, allow_nan=False)))  # as it will be read: tuples become lists
