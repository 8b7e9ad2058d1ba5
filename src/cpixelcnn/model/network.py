"""The PixelCNN++ network with class conditioning: a distribution of images.

Salimans et al. 2017, arXiv 1701.05517, figure 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cpixelcnn.config import ModelConfig, RunConfig
from cpixelcnn.device import exact_float32, inner_precision, network_precision, widest_float
from cpixelcnn.errors import DataError
from cpixelcnn.model.conditioning import ClassTemplateFusion, ClassVectorFusion, FiLM
from cpixelcnn.model.fused.sharing import as_one_pass, one_forward_pass
from cpixelcnn.model.layers import (
    DownRightShiftedConv,
    DownRightShiftedDeconv,
    DownShiftedConv,
    DownShiftedDeconv,
    GatedResidualBlock,
    NetworkInNetwork,
    data_dependent_initialisation,
    down_shift,
    right_shift,
)
from cpixelcnn.model.mixture import PARAMETERS_PER_COMPONENT, DiscretizedLogisticMixture, scale_pixels

NR_LEVELS = 3  # full, half and quarter resolution

Streams = tuple[Tensor, Tensor]  # u and ul, each (N, F, H, W)


def pixel_log_probs(
    network: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    *,
    orientations: Tensor | None = None,
    precision: str = "float32",
) -> Tensor:
    """log p(x_i | x_<i, c) in nats of every pixel (its channels together), (N, H, W).

    This is what training maximises and what `PixelCNN.log_prob` is the sum of.

    Args:
        network: a `PixelCNN`, or what wraps one (DistributedDataParallel, torch.compile).
        images: uint8 (N, C, H, W).
        labels: class indices (N,), None for an unconditional model.
        orientations: by how many quarter turns each image has been turned, (N,); None for upright images.
        precision: of the network's convolutions, "float32" or "bfloat16", whatever autocast is open around the call.
            The likelihood is computed in the precision of the weights (float32) in any case.
    """
    return _distribution(network, images, labels, precision, orientations).log_prob(images)


def sum_over_pixels(log_probs: Tensor) -> Tensor:
    """The sum of (N, H, W) over rows and columns, (N,), in the widest float of its device."""
    return log_probs.sum(dim=(1, 2), dtype=widest_float(log_probs.device))


def _distribution(
    network: nn.Module, images: Tensor, labels: Tensor | None, precision: str, orientations: Tensor | None = None
) -> DiscretizedLogisticMixture:
    told = (labels,) if orientations is None else (labels, orientations)
    with network_precision(precision, images.device):
        parameters = network(scale_pixels(images), *told)
    return DiscretizedLogisticMixture(parameters, images.shape[1])


class StreamPair(nn.Module):
    """One step of both streams: a gated residual block for *u*, then one for *ul* that also receives the new u.

    On the way down each block receives, besides, the activation of the way up at the same depth (the long skip).

    Attributes:
        recomputing: keep nothing of the pair for the backward pass but its inputs, and compute the rest again then
            (Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv 1604.06174).
    """

    def __init__(self, config: ModelConfig, *, long_skip: bool) -> None:
        super().__init__()
        nr_filters = config.nr_filters

        def film() -> FiLM | None:
            if config.film == "none":
                return None
            hidden_dim = config.class_embedding_dim if config.film == "mlp" else None
            return FiLM(config.class_embedding_dim, 2 * nr_filters, hidden_dim)

        skip = nr_filters if long_skip else 0
        self.u = GatedResidualBlock(DownShiftedConv, nr_filters, skip, config.dropout, film())
        self.ul = GatedResidualBlock(DownRightShiftedConv, nr_filters, nr_filters + skip, config.dropout, film())

        self.recomputing = False

    def forward(self, streams: Streams, long_skip: Streams | None, class_embedding: Tensor | None) -> Streams:
        if not (self.recomputing and torch.is_grad_enabled()):
            return self._advance(class_embedding, *streams, *(long_skip or ()))
        streams_and_skips = (*streams, *(long_skip or ()))
        recomputed: Streams = checkpoint(self._advance_anew, class_embedding, *streams_and_skips, use_reentrant=False)
        return recomputed

    def _advance_anew(self, class_embedding: Tensor | None, *tensors: Tensor) -> Streams:
        """The same as a pass of its own, in which the same activations are shared when it is recomputed.

        Views, so that the activations are freed with them.
        """
        u, ul, *long_skip = (x.view_as(x) for x in tensors)
        with one_forward_pass():
            return self._advance(class_embedding, u, ul, *long_skip)

    def _advance(self, class_embedding: Tensor | None, u: Tensor, ul: Tensor, *long_skip: Tensor) -> Streams:
        u = self.u(u, long_skip[:1], class_embedding)
        return u, self.ul(ul, (u, *long_skip[1:]), class_embedding)


class PixelCNN(nn.Module):
    """Class-conditional PixelCNN++: the distribution  p(x | c) = prod_i p(x_i | x_<i, c)  of images in raster order.

    `log_prob` is what everything else is made of: training maximises it, classification is its argmax over classes,
    bits per dimension its mean. With both fusions switched off the model is unconditional and takes no labels.

    Images are uint8 (N, C, H, W); labels are int64 (N,) class indices. Any height and width will do: sizes that are not
    a multiple of four are padded with zeros below and to the right, and the output is cropped. The u stream looks to
    the right in the rows above, so it sees that padding; since that is constant, it shows nothing of a later pixel.

    >>> from cpixelcnn.config import ModelConfig
    >>> config = ModelConfig(classes=("cat", "dog"), image_height=8, image_width=8, nr_filters=8)
    >>> model = PixelCNN(config).eval()
    >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    >>> model.log_prob(images, torch.tensor([0, 1])).shape
    torch.Size([2])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        config.require_classes()
        self.config = config
        channels, nr_filters = config.image_channels, config.nr_filters

        self.early_fusion: ClassVectorFusion | ClassTemplateFusion | None = None
        if config.early_fusion == "vector":
            self.early_fusion = ClassVectorFusion(config.nr_classes, channels)
        elif config.early_fusion == "template":
            size = (config.image_height, config.image_width)
            self.early_fusion = ClassTemplateFusion(config.nr_classes, channels, *size)
        self.class_embedding = (
            nn.Embedding(config.nr_classes, config.class_embedding_dim) if config.film != "none" else None
        )
        self.orientation_embedding = (
            nn.Embedding(config.nr_orientations, config.class_embedding_dim, padding_idx=0)  # zero for upright images
            if config.nr_orientations > 1
            else None
        )

        self.u_in = DownShiftedConv(channels + 1, nr_filters, (2, 3))
        self.ul_in_above = DownShiftedConv(channels + 1, nr_filters, (1, 3))
        self.ul_in_left = DownRightShiftedConv(channels + 1, nr_filters, (2, 1))

        def level(length: int, long_skip: bool) -> nn.ModuleList:
            return nn.ModuleList(StreamPair(config, long_skip=long_skip) for _ in range(length))

        nr_resnets, steps = config.nr_resnets, range(NR_LEVELS - 1)
        self.up_levels = nn.ModuleList(level(nr_resnets, False) for _ in range(NR_LEVELS))
        self.u_halve = nn.ModuleList(DownShiftedConv(nr_filters, nr_filters, stride=2) for _ in steps)
        self.ul_halve = nn.ModuleList(DownRightShiftedConv(nr_filters, nr_filters, stride=2) for _ in steps)
        # The way down starts at the smallest level; the larger two have one step more, for the activation before them.
        self.down_levels = nn.ModuleList(level(nr_resnets + (i > 0), True) for i in range(NR_LEVELS))
        self.u_double = nn.ModuleList(DownShiftedDeconv(nr_filters, nr_filters) for _ in steps)
        self.ul_double = nn.ModuleList(DownRightShiftedDeconv(nr_filters, nr_filters) for _ in steps)
        self.out = NetworkInNetwork(nr_filters, PARAMETERS_PER_COMPONENT[channels] * config.nr_logistic_mix)

    @as_one_pass
    def forward(self, x: Tensor, labels: Tensor | None = None, orientations: Tensor | None = None) -> Tensor:
        """Mixture parameters at every pixel.

        The arguments are not checked here; `distribution` and `log_prob` check theirs.

        Args:
            x: images in [-1, 1], (N, C, H, W).
            labels: class indices (N,) in 0..C-1, not needed by an unconditional model.
            orientations: by how many quarter turns each image has been turned, int64 (N,), for a model that tells
                them apart; None for upright images.

        Returns:
            (N, 10K, H, W) for three channels, (N, 3K, H, W) for one; the numbers at pixel i depend on pixels before i
            only.

        Raises:
            IndexError: on a CPU, a label out of range (-1, say).
        """
        height, width = x.shape[2:]
        x = x.to(self.out.v.dtype)
        class_embedding = None
        if self.early_fusion is not None:
            x = self.early_fusion(x, labels, orientations)
        if self.class_embedding is not None:
            class_embedding = self.class_embedding(labels)
            if orientations is not None:
                class_embedding = class_embedding + cast(nn.Embedding, self.orientation_embedding)(orientations)
        # The channel of ones: wherever a convolution sees 0 in it is padding.
        x = F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0)
        x = F.pad(x, (0, -width % 4, 0, -height % 4)).contiguous(memory_format=torch.channels_last)

        # Both ends of the network stay in float32 where the rest runs in bfloat16: there a weight rounded to 8 bits
        # moves what is predicted by a good part of a grey level, at every pixel alike (docs/model.md).
        with network_precision("float32", x.device):
            u = down_shift(self.u_in(x))
            ul = down_shift(self.ul_in_above(x)) + right_shift(self.ul_in_left(x))
        inner = inner_precision(x)
        streams = u.to(inner), ul.to(inner)
        skips = [streams]
        for i, up_level in enumerate(self.up_levels):
            for pair in cast(nn.ModuleList, up_level):
                streams = pair(streams, None, class_embedding)
                skips.append(streams)
            if i < NR_LEVELS - 1:
                u, ul = streams
                streams = self.u_halve[i](u), self.ul_halve[i](ul)
                skips.append(streams)

        streams = skips.pop()
        for i, down_level in enumerate(self.down_levels):
            for pair in cast(nn.ModuleList, down_level):
                streams = pair(streams, skips.pop(), class_embedding)
            if i < NR_LEVELS - 1:
                u, ul = streams
                streams = self.u_double[i](u), self.ul_double[i](ul)

        with network_precision("float32", x.device):
            parameters: Tensor = self.out(F.elu(streams[1].to(x.dtype)))
        return parameters[:, :, :height, :width]

    def distribution(self, images: Tensor, labels: Tensor | None = None) -> DiscretizedLogisticMixture:
        """The mixture at every pixel, given the pixels before it; images uint8 (N, C, H, W), labels (N,).

        Raises:
            DataError: as `log_prob`.
        """
        self._check(images, labels)
        with exact_float32():
            return _distribution(self, images, labels, "float32")

    def log_prob(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x | c) in nats, (N,) float64; log p(x) for an unconditional model.

        Computed in exact float32, whatever autocast is open and whether float32 may be rounded to TF32 elsewhere.

        Args:
            images: uint8 (N, C, H, W).
            labels: class indices (N,), not needed by an unconditional model.

        Raises:
            DataError: images of another kind or shape than the model's, or labels that are missing or out of range.
        """
        self._check(images, labels)
        with exact_float32():
            return sum_over_pixels(pixel_log_probs(self, images, labels))

    def initialise(self, images: Tensor, labels: Tensor | None = None) -> None:
        """Initialise weight normalisation from one real batch (Salimans & Kingma 2016, arXiv 1602.07868, section 3).

        Dropout is off meanwhile, so that the statistics are those of the network as it is evaluated.

        Args:
            images: uint8 (N, C, H, W), some dozens.
            labels: class indices (N,), not needed by an unconditional model.

        Raises:
            DataError: as `log_prob`.
        """
        with evaluation_mode(self), torch.no_grad(), data_dependent_initialisation(self):
            self.distribution(images, labels)

    def recompute_activations(self, wanted: bool = True) -> None:
        """Train in less memory and more time: see `StreamPair.recomputing`. What is computed stays the same."""
        for module in self.modules():
            if isinstance(module, StreamPair):
                module.recomputing = wanted

    def save(self, path: Path | str) -> None:
        """Write the weights with the configuration to a safetensors file, for `load` and every `--model`.

        Raises:
            OSError: the file cannot be written.
        """
        from cpixelcnn.model.weights import save_weights

        save_weights(Path(path), self.state_dict(), RunConfig(self.config))

    @classmethod
    def load(cls, path: Path | str) -> PixelCNN:
        """The model of a file that `save`, or a training, has written; on the CPU, in evaluation mode.

        Raises:
            CheckpointError: not such a file, damaged, or of a newer version.
        """
        from cpixelcnn.model.weights import build_model, load_weights

        return build_model(*load_weights(Path(path)), Path(path))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.out.v.device

    @property
    def overrides_forward(self) -> bool:
        """Whether a subclass, or this object, has a forward pass of its own.

        The fast ways to sample and to classify know the forward pass of `PixelCNN` alone.
        """
        return type(self).forward is not PixelCNN.forward or "forward" in vars(self)

    def nr_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _check(self, images: Tensor, labels: Tensor | None) -> None:
        config = self.config
        expected = (config.image_channels, config.image_height, config.image_width)
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise DataError(
                f"images must be uint8 (N, C, H, W), but are {images.dtype} {tuple(images.shape)}; "
                "convert them to 8-bit values first"
            )
        if tuple(images.shape[1:]) != expected:
            raise DataError(
                f"the model was made for images of {expected[0]} x {expected[1]} x {expected[2]} (C x H x W), "
                f"but these are {' x '.join(map(str, images.shape[1:]))}; resize them first"
            )
        if not config.conditional:
            return
        if labels is None:
            raise DataError("a class-conditional model needs a label for every image, and none were given")
        if labels.shape != images.shape[:1] or labels.dtype not in (torch.int64, torch.int32):
            raise DataError(
                f"labels must be {len(images)} integers (int64), but are {labels.dtype} {tuple(labels.shape)}"
            )
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < config.nr_classes):
            raise DataError(
                f"labels must lie in 0..{config.nr_classes - 1}, but reach from {int(labels.min())} to "
                f"{int(labels.max())} (-1 means unlabelled); leave unlabelled images out"
            )


@contextmanager
def evaluation_mode(model: PixelCNN) -> Iterator[None]:
    """While open, dropout is off; afterwards the model is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
