"""Batches: the permutation of the images in an epoch, and the augmented images of a step.

Both are functions of the seed and of the place on the clock of the training, so that a resumed training finds its
place, and neither the batch size nor the number of processes changes what happens to an image.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import TrainConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.device import to_device
from cpixelcnn.model.conditioning import NR_TURNS, turned
from cpixelcnn.randomness import derive_seed, random_integers

LARGEST_ON_DEVICE = 2 * 2**30  # bytes of images that are moved to the device once, rather than batch by batch


def epoch_permutation(labels: Tensor, seed: int, epoch: int, *, balanced: bool = False) -> Tensor:
    """Indices of the images of one epoch, in random order.

    Args:
        labels: of the training images, int64 (N,).
        seed: of the run.
        epoch: its number.
        balanced: take N images with every class equally often (to within one), rather than every image once. The
            images of a class come in random order, several times where the class is rare.

    Returns:
        int64 (N,); a function of the arguments alone.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    n = len(labels)
    if not balanced:
        return torch.randperm(n, generator=generator)
    present = torch.unique(labels)
    smaller, longer = divmod(n, len(present))
    parts = []
    for place, label in enumerate(present[torch.randperm(len(present), generator=generator)]):
        members = torch.nonzero(labels == label)[:, 0]
        quota = smaller + (place < longer)
        passes = -(-quota // len(members))
        rounds = [members[torch.randperm(len(members), generator=generator)] for _ in range(passes)]
        parts.append(torch.cat([members[:0], *rounds])[:quota])
    return torch.cat(parts)[torch.randperm(n, generator=generator)]


@dataclass(frozen=True)
class Batch:
    """Images on the device, and what belongs to each.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
        first: the number on the clock of the first of them.
        orientations: by how many quarter turns each has been turned, int64 (N,); None where the model is not told.
    """

    images: Tensor
    labels: Tensor
    first: int
    orientations: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def numbers(self) -> Tensor:
        """The number on the clock of every image, int64 (N,)."""
        return self.first + torch.arange(len(self.images), device=self.images.device)

    def at(self, places: Tensor) -> Batch:
        """The images at these places of the batch; the numbers of theirs on the clock are not kept."""
        orientations = None if self.orientations is None else self.orientations[places]
        return Batch(self.images[places], self.labels[places], self.first, orientations)

    def labelled(self, labels: Tensor) -> Batch:
        """The same images under other labels."""
        return dataclasses.replace(self, labels=labels)


class BatchSource:
    """The training images as a source of augmented batches.

    Args:
        images: of the training.
        options: how they are augmented.
        device: where the batches are wanted.
        nr_orientations: of the model; if there are four, images are turned and it is told.
    """

    def __init__(self, images: ImageSet, options: TrainConfig, device: torch.device, nr_orientations: int = 1) -> None:
        self.options, self.device, self.turning = options, device, nr_orientations > 1
        resident = images.images.nbytes <= LARGEST_ON_DEVICE
        self.images = images.images.to(device) if resident else images.images
        self.labels = images.labels.to(device) if resident else images.labels

    def batch(self, indices: Tensor, first: int) -> Batch:
        """The images at these indices (int64 (N,), on the device of the images); the first has the number `first`."""
        images, labels = self.images[indices], self.labels[indices]
        batch = Batch(to_device(images, self.device), to_device(labels, self.device), first)
        batch = dataclasses.replace(batch, images=augmented(batch, self.options))
        return in_orientations(batch, self.options) if self.turning else batch


def in_orientations(batch: Batch, options: TrainConfig) -> Batch:
    """The batch with a `turned_share` of its images in one of the three other orientations, each at random."""
    numbers = batch.numbers
    upright = random_integers(options.seed, "upright", numbers, 2**24) >= options.turned_share * 2**24
    orientations = torch.where(upright, 0, 1 + random_integers(options.seed, "turn", numbers, NR_TURNS - 1))
    in_each = torch.stack([turned(batch.images, k) for k in range(NR_TURNS)])
    images = in_each[orientations, torch.arange(len(batch), device=numbers.device)]
    return dataclasses.replace(batch, images=images, orientations=orientations)


def augmented(batch: Batch, options: TrainConfig) -> Tensor:
    """The images of a batch, shifted by up to `shift` pixels each way and mirrored or not, each at random.

    With the shift (a, b) and the mirror m of an image,

        y[c, i, j] = x[c, clip(i + a, 0, H - 1), clip(m(j) + b, 0, W - 1)],   m(j) = j or W - 1 - j,

    so that every pixel is one of the image's own: nothing is interpolated, and all values stay integers of 8 bits.
    """
    shift = options.shift
    if not (shift or options.horizontal_flip):
        return batch.images
    n, _, height, width = batch.images.shape
    numbers = batch.numbers
    rows = torch.arange(height, device=numbers.device).expand(n, -1)
    columns = torch.arange(width, device=numbers.device).expand(n, -1)
    if options.horizontal_flip:
        mirrored = random_integers(options.seed, "flip", numbers, 2) == 1
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    if shift:
        down, right = (
            random_integers(options.seed, name, numbers, 2 * shift + 1)[:, None] - shift for name in ("down", "right")
        )
        rows = (rows + down).clamp(0, height - 1)
        columns = (columns + right).clamp(0, width - 1)
    # Advanced indices on both sides of a slice: their dimensions come first in the result.
    pixels = batch.images[torch.arange(n, device=numbers.device)[:, None, None], :, rows[:, :, None], columns[:, None]]
    return pixels.permute(0, 3, 1, 2).contiguous()
