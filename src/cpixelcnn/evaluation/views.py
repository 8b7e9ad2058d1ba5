"""More than one look at an image: its log-likelihoods are averaged over views that show the same thing.

The views are the image and its mirror image; of a photograph, those of its four corners as well; and, for a model that
tells orientations apart, image and mirror image in four quarter turns. Mirrored and turned images have the same pixels
in another order, so that p(x | c) is factorised in another way. Corners have other pixels: they are scaled, and
compressed, anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import ModelConfig
from cpixelcnn.datasets.crops import CORNERS, Crop
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE, class_log_probs
from cpixelcnn.model.conditioning import NR_TURNS, turned
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.orientations import in_orientation
from cpixelcnn.progress import Progress, silent


@dataclass(frozen=True)
class View:
    """One view: the image or a corner of it, mirrored or not, and then turned.

    Attributes:
        mirrored: left and right changed over.
        quarter_turns: to the left.
        corner: which of `CORNERS` it shows; None for the whole image.
    """

    mirrored: bool = False
    quarter_turns: int = 0
    corner: int | None = None

    def of(self, images: Tensor, crops: Tensor | None = None) -> Tensor:
        """This view of images (..., H, W), of which it may show a corner (4, ..., H, W).

        Raises:
            DataError: it shows a corner, and there are none.
        """
        if self.corner is not None:
            if crops is None or len(crops) != len(CORNERS):
                raise DataError("10 views need `crops`, the four corners of each image; pass them, or `views` 1 or 2")
            images = crops[self.corner]
        return turned(images.flip(-1) if self.mirrored else images, self.quarter_turns)

    def back(self, views: Tensor) -> Tensor:
        """What `of` made of images or corners, or something else of their size, as these lay, (..., H, W)."""
        images = turned(views, -self.quarter_turns)
        return images.flip(-1) if self.mirrored else images


_TURNED = tuple(View(mirrored, quarter_turns) for quarter_turns in range(NR_TURNS) for mirrored in (False, True))
# By their number; each begins with the image itself and then its mirror image.
VIEWS: dict[int, tuple[View, ...]] = {
    1: _TURNED[:1],
    2: _TURNED[:2],
    8: _TURNED,
    10: _TURNED[:2] + tuple(View(mirrored, corner=n) for n in range(len(CORNERS)) for mirrored in (False, True)),
}


def check_views(views: int, config: ModelConfig | None = None) -> None:
    """Refuse a number of views that there is not, or that is not for a model of this configuration.

    Raises:
        ConfigError: not 1 (the image), 2 (and its mirror image), 8 (both in quarter turns) or 10 (both, and those of
            four corners); 8 where the model does not tell orientations apart; or 10 where its images are not square.
    """
    if views not in VIEWS:
        raise ConfigError(
            "`views` must be 1 (the image), 2 (and its mirror image), 8 (both in quarter turns) or 10 (both, and those "
            f"of four corners), but is {views}"
        )
    if config is not None and views == len(_TURNED) and config.nr_orientations < NR_TURNS:
        raise ConfigError(
            f"`views` {views} is for models that tell orientations apart (`nr_orientations` {NR_TURNS}), and this one "
            "knows upright images only; pass 1, 2 or 10"
        )
    if config is not None and crops_for(views) and config.image_height != config.image_width:
        raise ConfigError(f"`views` {views} is for models of square images, and this one is not; pass 1 or 2")


def crops_for(views: int) -> tuple[Crop, ...]:
    """The crops of photographs that so many views show."""
    return CORNERS if any(view.corner is not None for view in VIEWS.get(views, ())) else ()


def view_log_probs(
    model: PixelCNN,
    images: Tensor,
    *,
    crops: Tensor | None = None,
    views: int = 1,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Tensor:
    """log p(view | c) of every view of every image under every class, float64 (views, N, classes).

    Classify by the mean over views of log p, not of p: the mean of p is that of the most probable view. A model that
    was trained with horizontal flips is used to mirror images, and one that was trained with crops to corners.

    Args:
        model: class-conditional.
        images: uint8 (N, C, H, W).
        crops: their four corners (`CORNERS`) at the same size, uint8 (4, N, C, H, W), for 10 views.
        views: 1, 2 for the mirror image as well, 8 for both in four quarter turns, or 10 for both of the image and of
            its four corners.
        batch_size: images computed together.
        processes: those that share the work.
        progress: called with the passes done and their total.

    Raises:
        ConfigError: another number of views, 8 of a model that does not tell orientations apart, or 10 of one whose
            images are not square.
        DataError: 10 views and no corners.
        CheckpointError, DataError: as `class_log_probs`.
    """
    check_views(views, model.config)
    seen: list[Tensor] = []
    for number, view in enumerate(VIEWS[views]):

        def report(done: int, total: int, before: int = number) -> None:
            progress(before * total + done, views * total)

        of_view, looked_at = in_orientation(model, view.quarter_turns), view.of(images, crops)
        known = None
        if view.corner is not None:
            # An image that is too small for crops stands in for them, and has been seen.
            known = (looked_at == VIEWS[2][view.mirrored].of(images)).flatten(1).all(dim=1)
            looked_at = looked_at[~known]
        found = class_log_probs(of_view, looked_at, batch_size=batch_size, processes=processes, progress=report)
        seen.append(found if known is None else seen[view.mirrored].clone().index_put((~known,), found))
    return torch.stack(seen)


def placed(maps: Tensor, crop: Crop) -> Tensor:
    """What belongs to the pixels of a crop, where they lie in the whole image; each map keeps its sum.

    A pixel of the crop covers parts of one to four pixels of the image, and is divided among them by area.

    Args:
        maps: float (N, H, W), of crops.
        crop: which crop.
    """
    height, width = maps.shape[-2:]
    left, top, right, bottom = crop.box((width, height), (width, height))
    rows, columns = _overlap(height, top, bottom).to(maps), _overlap(width, left, right).to(maps)
    return rows @ maps @ columns.mT


def _overlap(size: int, start: float, end: float) -> Tensor:
    """Which part of pixel j of a crop lies in pixel i of the image, along one side, float64 (size, size)."""
    edges = torch.arange(size + 1, dtype=torch.float64)
    inner = start + (end - start) / size * edges
    low = torch.maximum(edges[:-1, None], inner[None, :-1])
    high = torch.minimum(edges[1:, None], inner[None, 1:])
    return (high - low).clamp(min=0) * (size / (end - start))
