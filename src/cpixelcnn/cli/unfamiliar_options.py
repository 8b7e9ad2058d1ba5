"""The options of `cpixelcnn eval` about unfamiliar images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from cpixelcnn.errors import ConfigError

PANEL = "Unfamiliar images"
MAX_IMAGES = 500

Unfamiliar = Annotated[
    list[str] | None,
    typer.Option(
        "--unfamiliar",
        metavar="DATA",
        help="Tell these images from the model's own: a folder, a data set (NAME or NAME=DIR), noise or flat. "
        "Can be repeated.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
ScoreNames = Annotated[
    str,
    typer.Option(
        "--scores",
        metavar="NAMES",
        help="Besides likelihood and typicality: png, webp, and stirring (7 further passes) or shaking (3).",
        rich_help_panel=PANEL,
    ),
]
LocalModel = Annotated[
    str | None,
    typer.Option(
        "--local-model",
        metavar="MODEL",
        help="A model of small tiles of the images, for the score local.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
FitThreshold = Annotated[
    str | None,
    typer.Option(
        "--fit-threshold",
        metavar="SCORE",
        help="Learn from validation images above which score (png, webp or typicality) an image is unfamiliar; stored "
        "beside the weights, for classify.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
MaxImages = Annotated[
    int,
    typer.Option(
        "--max-images",
        metavar="N",
        min=2,
        help="Images of each kind, chosen at random from more.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True)
class UnfamiliarOptions:
    """The options about unfamiliar images.

    Attributes:
        data: folders, data sets, "noise" or "flat".
        names: of the scores that compare code lengths.
        local_model: for the score "local".
        fit: score of the threshold that is to be learned, if one is.
        max_images: of each kind.
    """

    data: Sequence[str]
    names: tuple[str, ...]
    local_model: str | None = None
    fit: str | None = None
    max_images: int = MAX_IMAGES

    def check(self) -> None:
        """Refuse unknown scores before the work."""
        from cpixelcnn.evaluation.code_lengths import LOCAL, check_codes
        from cpixelcnn.evaluation.familiarity import QUICK_SCORES

        check_codes(self.names)
        if LOCAL in self.names and self.local_model is None:
            raise ConfigError("the score local needs --local-model")
        if self.fit is not None and self.fit not in QUICK_SCORES:
            raise ConfigError(f"--fit-threshold can be {', '.join(QUICK_SCORES)}, but is {self.fit!r}")


def parse_scores(text: str, local_model: str | None) -> tuple[str, ...]:
    """`--scores`: names separated by commas; a local model asks for its own."""
    names = [name.strip() for name in text.split(",") if name.strip() not in ("", "likelihood", "typicality")]
    return tuple(dict.fromkeys([*names, *(["local"] if local_model else [])]))
