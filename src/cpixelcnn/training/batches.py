"""Batches: the permutation of an epoch, and the augmented images of a step.

The order of the images in an epoch: a function of (seed, epoch), so that a resumed training finds its place.

From the training images to what a step gets: chosen, moved to the device and augmented there, always as 8 bits.

What happens to an image is a function of (seed, its number on the clock of the training), so it does not depend on
the batches, the processes or the interruptions between which the images are divided.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.config import TrainConfig
from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.device import to_device
from cpixelcnn.randomness import derive_seed, random_integers


def epoch_permutation(labels: Tensor, seed: int, epoch: int, *, balanced: bool = False) -> Tensor:
    """Indices of the images of one epoch, int64 (N,): each of them once, or N draws with the classes equally frequent.

    Args:
        labels: of the training images, (N,).
        seed, epoch: all that the order depends on besides.
        balanced: draw every class that occurs equally often (to within one, where N is no multiple of their number).
            The images of a class are gone through in random order, again and again where the class is rare.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    n = len(labels)
    if not balanced:
        return torch.randperm(n, generator=generator)
    present = torch.unique(labels)
    smaller, longer = divmod(n, len(present))
    draws = []
    for place, label in enumerate(present[torch.randperm(len(present), generator=generator)]):
        members = torch.nonzero(labels == label)[:, 0]
        quota = smaller + (place < longer)
        passes = -(-quota // len(members))
        rounds = [members[torch.randperm(len(members), generator=generator)] for _ in range(passes)]
        draws.append(torch.cat([members[:0], *rounds])[:quota])
    return torch.cat(draws)[torch.randperm(n, generator=generator)]


LARGEST_ON_DEVICE = 2 * 2**30  # bytes of images that are moved to the device once, rather than batch by batch


@dataclass(frozen=True)
class Batch:
    """Images uint8 (N, C, H, W) and labels (N,) on the device, and the number on the clock of the first of them."""

    images: Tensor
    labels: Tensor
    first: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def numbers(self) -> Tensor:
        """The number on the clock of every image, int64 (N,)."""
        return self.first + torch.arange(len(self.images), device=self.images.device)


class BatchSource:
    """The training images as a source of augmented batches."""

    def __init__(self, images: ImageSet, options: TrainConfig, device: torch.device) -> None:
        self.options, self.device = options, device
        resident = images.images.nbytes <= LARGEST_ON_DEVICE
        self.images = images.images.to(device) if resident else images.images
        self.labels = images.labels.to(device) if resident else images.labels

    def batch(self, indices: Tensor, first: int) -> Batch:
        """The images at these indices (int64 (N,), where the images are), the first of which has the number `first`."""
        images, labels = self.images[indices], self.labels[indices]
        batch = Batch(to_device(images, self.device), to_device(labels, self.device), first)
        return Batch(augmented(batch, self.options), batch.labels, first)


def augmented(batch: Batch, options: TrainConfig) -> Tensor:
    """The images of a batch, moved by up to `shift` pixels each way and mirrored or not, each at random.

    With the shift (a, b) and the mirror m of an image,

        y[c, i, j] = x[c, clip(i + a, 0, H - 1), clip(m(j) + b, 0, W - 1)],   m(j) = j or W - 1 - j,

    so that every pixel is one of the image's own: nothing is interpolated and nothing leaves the 8-bit grid.
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
    # Indices apart from the channels' come first in the result.
    pixels = batch.images[torch.arange(n, device=numbers.device)[:, None, None], :, rows[:, :, None], columns[:, None]]
    return pixels.permute(0, 3, 1, 2).contiguous()
