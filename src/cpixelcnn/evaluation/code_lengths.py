"""Other code lengths of images, against which a model's own is held to tell unfamiliar images.

A code that knows images, but not these ones, takes off what makes an image simple or rich for every model: what is left
tells whether it is of the model's kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import ConfigError, did_you_mean
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE
from cpixelcnn.evaluation.unfamiliar import Scores, image_bits, png_bits, webp_bits
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.progress import Progress, silent

FILES: dict[str, Callable[[Tensor], Scores]] = {"png": png_bits, "webp": webp_bits}
LOCAL = "local"
CODES = ("png", "webp", "stirring", "shaking", LOCAL)


def check_codes(names: Sequence[str]) -> None:
    """Refuse names of codes that there are not.

    Raises:
        ConfigError: names it.
    """
    for name in names:
        if name not in CODES:
            raise ConfigError(f"the score {name!r} is not known; {did_you_mean(name, CODES, 'there are')}")


def code_lengths(
    model: PixelCNN,
    images: Tensor,
    names: Sequence[str],
    *,
    local_model: PixelCNN | None = None,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> dict[str, Scores]:
    """Code lengths of images in bits/dim, by name, each float64 (N,).

    Args:
        model: that whose unfamiliar images are looked for.
        images: uint8 (N, C, H, W).
        names: "png" and "webp": the length of the file (Serra et al. 2020, arXiv 1909.11480); "stirring" and
            "shaking": the mean of the model's own code lengths over rearrangements of the image, see `stirred` and
            `shaken` (Umapathi et al., IJCAI 2023, arXiv 2208.13579); "local": that of a local model, see `local_bits`
            (Zhang et al. 2021, arXiv 2109.02639).
        local_model: for "local".
        batch_size: images computed together.
        processes: those that share the work of the model; each calls this and gets all.
        progress: called with the passes done and their total, anew for each name that needs a model.

    Raises:
        ConfigError: an unknown name, no local model, or one that does not suit the images.
    """
    check_codes(names)
    found = {}
    for name in names:
        if name in FILES:
            found[name] = FILES[name](images)
        elif name == LOCAL:
            if local_model is None:
                raise ConfigError("the score local needs a local model; name one")
            found[name] = local_bits(local_model, images, batch_size=batch_size, processes=processes, progress=progress)
        else:
            versions = torch.cat(stirred(images) if name == "stirring" else shaken(images))
            lengths = image_bits(model, versions, batch_size=batch_size, processes=processes, progress=progress)
            found[name] = lengths.reshape(-1, len(images)).mean(axis=0)
    return found


def stirred(images: Tensor) -> list[Tensor]:
    """Images uint8 (N, C, H, W) turned by quarters, with inverted values, and both: seven versions of square ones.

    Neighbours stay neighbours, so a code of textures alone is as long as before; what is turned or inverted is no
    longer of the model's kind. Images that are not square are turned by halves only.
    """
    quarters = (1, 2, 3) if images.shape[2] == images.shape[3] else (2,)
    turned = [torch.rot90(images, k, (2, 3)) for k in quarters]
    return [*turned, *(255 - each for each in (images, *turned))]


def shaken(images: Tensor) -> list[Tensor]:
    """Images uint8 (N, C, H, W) with their halves exchanged, across, down, and both: each quarter is elsewhere."""
    across, down = images.shape[3] // 2, images.shape[2] // 2
    return [images.roll(across, 3), images.roll(down, 2), images.roll((down, across), (2, 3))]


def local_bits(
    model: PixelCNN,
    images: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> Scores:
    """Bits per dimension under a model of small images, which codes an image tile by tile, float64 (N,).

    Nothing beyond a tile can help it, so what it knows is texture. A model of images of the full size has one tile.

    Args:
        model: of tiles, better without classes; learned from `tiles` of familiar images.
        images: uint8 (N, C, H, W).
        batch_size: tiles computed together.
        processes: those that share the work; each calls this and gets all.
        progress: called with the passes done and their total.

    Raises:
        ConfigError: the images cannot be divided into such tiles.
    """
    parts = tiles(images, model.config.image_height, model.config.image_width)
    if model.config.image_channels != images.shape[1]:
        raise ConfigError("the local model and the images differ in colours; train it on tiles of these images")
    lengths = image_bits(model, parts, batch_size=batch_size, processes=processes, progress=progress)
    return np.asarray(lengths.reshape(len(images), -1).mean(axis=1))


def tiles(images: Tensor, height: int, width: int) -> Tensor:
    """Divide images uint8 (N, C, H, W) into tiles, (N * tiles of an image, C, height, width), image by image.

    Raises:
        ConfigError: the size of a tile does not divide that of an image.
    """
    n, channels, rows, columns = images.shape
    if rows % height or columns % width:
        raise ConfigError(
            f"images of {columns}x{rows} cannot be divided into tiles of {width}x{height}; train a local model whose "
            "size divides that of the images"
        )
    grid = images.reshape(n, channels, rows // height, height, columns // width, width)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, height, width)
