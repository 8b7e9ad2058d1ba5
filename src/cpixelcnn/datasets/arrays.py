"""Arrays that a user hands over, of NumPy or torch, as the tensors of an `ImageSet`; and what these must be."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cpixelcnn.errors import DataError

UNLABELLED = -1


def check_images(images: Tensor) -> None:
    """Refuse what is not uint8 (N, C, H, W) with one or three channels.

    Raises:
        DataError: says what the images are instead.
    """
    if not isinstance(images, Tensor):
        raise DataError(f"the images of an image set must be a tensor, not {_described(images)}; use from_arrays")
    if images.dtype != torch.uint8:
        scale = "multiply by 255 what is in [0, 1], " if images.is_floating_point() else ""
        raise DataError(f"images must be uint8, but are {_described(images)}; {scale}round, and convert them to uint8")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(f"images must be (N, C, H, W) with C = 1 or 3, but are {_described(images)}")
    if 0 in images.shape[2:]:
        raise DataError(f"images need at least one pixel, but are {_described(images)}")


def check_labels(labels: Tensor, count: int, classes: tuple[str, ...]) -> None:
    """Refuse labels that are not int64 (count,) and indices into the classes, and classes without names of their own.

    Raises:
        DataError: says what they are instead.
    """
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != (count,):
        raise DataError(f"labels must be int64 ({count},), one for each image, but are {_described(labels)}")
    if not all(isinstance(name, str) and name for name in classes) or len(set(classes)) < len(classes):
        raise DataError(
            f"the classes need names that differ and are not empty, but are {', '.join(map(repr, classes))}"
        )
    if count and int(labels.min()) < UNLABELLED:
        raise DataError(f"a label is {int(labels.min())}; labels are 0 or more, or -1 where the class is not known")
    if count and classes and int(labels.max()) >= len(classes):
        raise DataError(f"a label is {int(labels.max())}, but there are {len(classes)} classes, counted from 0")


def _tensor(array: object, what: str) -> Tensor:
    """A copy of an array, on the CPU."""
    if isinstance(array, Tensor):
        return array.detach().to("cpu", copy=True)
    try:
        return torch.from_numpy(np.array(array))
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be an array of NumPy or torch, not {_described(array)}") from error


def label_tensor(labels: object) -> Tensor:
    """Integers of any type as int64.

    Raises:
        DataError: they are no integers.
    """
    tensor = _tensor(labels, "labels")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise DataError(f"labels must be integers, but are {_described(tensor)}")
    return tensor.to(torch.int64)


def image_tensor(array: object) -> Tensor:
    """A copy of images (N, H, W), (N, C, H, W) or (N, H, W, C) as (N, C, H, W).

    Raises:
        DataError: no array, an array of another shape, or one whose axis of channels is ambiguous.
    """
    images = _tensor(array, "images")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise DataError(f"images must be (N, H, W), (N, C, H, W) or (N, H, W, C), but are {_described(images)}")
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first and last:
        raise DataError(
            f"images are {_described(images)}, where the first or the last axis may be that of the channels; "
            "construct ImageSet(images, labels, ...) with images (N, C, H, W) instead"
        )
    if not first and not last:
        raise DataError(f"images are {_described(images)}; one axis must be that of 1 channel (grey) or 3 (RGB)")
    return images if first else images.permute(0, 3, 1, 2).contiguous()


def _described(array: object) -> str:
    """Type and shape, for messages."""
    if isinstance(array, Tensor | np.ndarray):
        return f"{str(array.dtype).removeprefix('torch.')} {tuple(array.shape)}"
    return f"a {type(array).__name__}"
