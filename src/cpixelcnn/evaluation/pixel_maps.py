"""Where in an image its bits are spent, and where the evidence between two classes lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cpixelcnn.datasets.crops import CORNERS
from cpixelcnn.datasets.image_set import UNLABELLED
from cpixelcnn.distributed import ALONE, Processes
from cpixelcnn.errors import DataError
from cpixelcnn.evaluation.class_log_probs import BATCH_SIZE, class_log_probs
from cpixelcnn.evaluation.priors import ESTIMATED, Prior, log_prior
from cpixelcnn.evaluation.views import VIEWS, check_views, placed
from cpixelcnn.model.network import PixelCNN, evaluation_mode
from cpixelcnn.model.orientations import in_orientation
from cpixelcnn.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class BitsMap:
    """Mean code lengths of every value of an image over a set of images.

    Attributes:
        bits: mean of -log2 p(value | values before it) of every value, float64 (C, H, W).
        conditional: whether the class was given as well; else it is the likelihood over classes (marginal).
        n_images: how many images.
    """

    bits: Tensor
    conditional: bool
    n_images: int

    @property
    def bpd(self) -> float:
        """Bits per dimension, as of `bits_per_dim`: the mean over all values."""
        return float(self.bits.mean())

    @property
    def per_pixel(self) -> Tensor:
        """Bits per dimension of every pixel, (H, W): the mean over channels."""
        return self.bits.mean(dim=0)

    @property
    def per_channel(self) -> tuple[float, ...]:
        """Bits per dimension of every channel."""
        return tuple(self.bits.mean(dim=(1, 2)).tolist())


@torch.inference_mode()
def bits_map(
    model: PixelCNN,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    prior: Prior = "uniform",
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
    progress: Progress = silent,
) -> BitsMap:
    """Where in images, and in which channel, bits are spent.

    A model with classes is given the class where every image is labelled. Elsewhere the map is that of the marginal
    p(x) = sum_c p(c) p(x | c), which needs a forward pass for each class. Either way its mean is what `bits_per_dim`
    gives.

    Args:
        model: conditional or not.
        images: uint8 (N, C, H, W).
        labels: class indices (N,), -1 for unknown.
        prior: p(c) for the marginal, see `log_prior`.
        batch_size: images computed together.
        processes: those that share the work; each calls this and gets the whole result.
        progress: called with the images done and their total.

    Raises:
        DataError: no images, images of another shape than the model's, or labels out of range.
        ConfigError: the prior does not suit the model's classes.
    """
    if len(images) == 0:
        raise DataError("there are no images to draw a map of; check the data set and its split")
    given = model.config.conditional and labels is not None and not bool((labels == UNLABELLED).any())
    weights = None
    if model.config.conditional and not given:
        evidence = (
            class_log_probs(model, images, batch_size=batch_size, processes=processes) if prior == ESTIMATED else None
        )
        weights = log_prior(model.config, prior, evidence)
    starts = processes.share(range(0, len(images), batch_size))
    sums = [torch.empty(0, *images.shape[1:], dtype=torch.float64)]
    done, total = 0, sum(min(batch_size, len(images) - start) for start in starts)
    with processes.together(), evaluation_mode(model):
        for start in starts:
            batch = images[start : start + batch_size].to(model.device)
            if weights is not None:
                log_probs = _marginal(model, batch, weights)
            else:
                own = labels[start : start + batch_size].to(model.device) if given and labels is not None else None
                log_probs = model.distribution(batch, own).channel_log_probs(batch).cpu().double()
            sums.append(log_probs.sum(dim=0, keepdim=True))
            done += len(batch)
            progress(done, total)
    mean = processes.gather(torch.cat(sums)).sum(dim=0) / len(images)
    return BitsMap(mean / -math.log(2), given, len(images))


def _marginal(model: PixelCNN, images: Tensor, log_weights: Tensor) -> Tensor:
    """log p(value | values before it) without the class, float64 (N, C, H, W) on the CPU.

    log p(first i values) = log sum_c p(c) p(first i values | c), and a value's own is the difference of two neighbours.
    """
    n, channels, height, width = images.shape
    of_classes = []
    for label in range(model.config.nr_classes):
        given = torch.full((n,), label, device=model.device)
        log_probs = model.distribution(images, given).channel_log_probs(images).cpu().double()
        raster = log_probs.permute(0, 2, 3, 1).flatten(1)  # the order in which the model factorises an image
        of_classes.append(raster.cumsum(dim=1) + log_weights[label])
    so_far = torch.logsumexp(torch.stack(of_classes), dim=0)
    own = so_far.diff(dim=1, prepend=torch.zeros(n, 1, dtype=so_far.dtype))
    return own.view(n, height, width, channels).permute(0, 3, 1, 2)


@torch.inference_mode()
def evidence_map(
    model: PixelCNN,
    images: Tensor,
    first: Tensor | Sequence[int],
    second: Tensor | Sequence[int],
    *,
    crops: Tensor | None = None,
    views: int = 1,
    batch_size: int = BATCH_SIZE,
    processes: Processes = ALONE,
) -> Tensor:
    """Where in each image the evidence for one class against another lies: the explanation of a generative classifier.

    e_i = log p(x_i | x_<i, first) - log p(x_i | x_<i, second) of every pixel i. Its sum over pixels is the difference
    of the two log-likelihoods, by which the classifier decides; nothing is approximated.

    Args:
        model: class-conditional.
        images: uint8 (N, C, H, W).
        first: index of the class of each image that positive numbers speak for, (N,).
        second: index of the class that negative numbers speak for, (N,).
        crops: the corners of the images, for 10 views.
        views: for the mean over so many views of each image, see `view_log_probs` (their maps are turned back, and
            those of corners are laid where these lie in the image).
        batch_size: images computed together.
        processes: those that share the work; each calls this and gets the whole result.

    Returns:
        Nats, float64 (N, H, W) on the CPU.

    Raises:
        DataError: images of another shape than the model's, or classes out of range or missing.
        ConfigError, DataError: as `view_log_probs`.
    """
    check_views(views, model.config)
    pairs = torch.stack([torch.as_tensor(labels, dtype=torch.int64).cpu() for labels in (first, second)])
    maps = [torch.empty(0, *images.shape[2:], dtype=torch.float64)]
    with processes.together(), evaluation_mode(model):
        for start in processes.share(range(0, len(images), batch_size)):
            batch, (for_it, against_it) = images[start : start + batch_size], pairs[:, start : start + batch_size]
            cut = None if crops is None else crops[:, start : start + batch_size]
            seen = []
            for view in VIEWS[views]:
                of_view, looked_at = in_orientation(model, view.quarter_turns), view.of(batch, cut).to(model.device)
                log_ratio = _pixels(of_view, looked_at, for_it) - _pixels(of_view, looked_at, against_it)
                upright = view.back(log_ratio)
                if view.corner is not None and cut is not None:
                    # An image that is too small for crops stands in for them.
                    whole = (cut[view.corner] == batch).flatten(1).all(dim=1)[:, None, None]
                    upright = upright.where(whole, placed(upright, CORNERS[view.corner]))
                seen.append(upright)
            maps.append(torch.stack(seen).mean(dim=0))
    return processes.gather(torch.cat(maps))


def _pixels(model: PixelCNN, images: Tensor, labels: Tensor) -> Tensor:
    """log p(x_i | x_<i, c) of every pixel, float64 (N, H, W) on the CPU."""
    return model.distribution(images, labels.to(model.device)).log_prob(images).cpu().double()
