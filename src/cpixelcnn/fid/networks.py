"""The feature networks, each kind built by one function: all that depends on pytorch-fid and efficientnet-lite-pytorch.

Both packages import ``torch.utils.model_zoo`` to fetch weights, which is not done through them here. Where a later
torch no longer has that module, a stand-in takes its place, so that neither network is lost with it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpixelcnn.errors import DataError

EFFICIENTNET_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}  # pixels

_MODEL_ZOO = "torch.utils.model_zoo"


class InceptionFeatures(nn.Module):
    """The beginning of Inception v3 up to one of pytorch-fid's four outputs, averaged over its positions.

    Takes images in 0..1 of any size, which are resized to 299x299 (bilinear) and scaled to -1..1.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        images = F.interpolate(images, size=(299, 299), mode="bilinear", align_corners=False)
        return F.adaptive_avg_pool2d(self.layers(2 * images - 1), 1).flatten(1)


class EfficientNetFeatures(nn.Module):
    """The last feature maps of an EfficientNet-Lite, averaged over their positions; input prepared as in its README.

    Takes images in 0..1 of any size, which are resized to the square size that the network was trained with (bilinear).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, efficientnet: nn.Module, size: int) -> None:
        super().__init__()
        self.efficientnet = efficientnet
        self.size = size
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        size = (self.size, self.size)
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=False)
        maps: Tensor = self.efficientnet.extract_features((images - self.mean) / self.std)  # type: ignore[operator]
        return maps.mean(dim=(2, 3))


def build_inception(dims: int, state: dict[str, Tensor]) -> InceptionFeatures:
    """pytorch-fid's Inception with these weights, cut after its output of 64, 192, 768 or 2048 dimensions.

    The layers are torchvision's, with pytorch-fid's own blocks in the nine places where the network of published FID
    values differs; that the features are those of pytorch-fid's class is a test.

    Raises:
        DataError: a package is not installed.
        RuntimeError: weights of another network.
    """
    blocks = import_package("pytorch_fid.inception", "pytorch-fid")
    torchvision = import_package("torchvision", "torchvision")
    inception = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    inception.Mixed_5b = blocks.FIDInceptionA(192, pool_features=32)
    inception.Mixed_5c = blocks.FIDInceptionA(256, pool_features=64)
    inception.Mixed_5d = blocks.FIDInceptionA(288, pool_features=64)
    inception.Mixed_6b = blocks.FIDInceptionC(768, channels_7x7=128)
    inception.Mixed_6c = blocks.FIDInceptionC(768, channels_7x7=160)
    inception.Mixed_6d = blocks.FIDInceptionC(768, channels_7x7=160)
    inception.Mixed_6e = blocks.FIDInceptionC(768, channels_7x7=192)
    inception.Mixed_7b = blocks.FIDInceptionE_1(1280)
    inception.Mixed_7c = blocks.FIDInceptionE_2(2048)
    inception.load_state_dict(state)
    last = {64: "maxpool1", 192: "maxpool2", 768: "Mixed_6e", 2048: "Mixed_7c"}[dims]
    layers = dict(inception.named_children())
    names = list(layers)
    return InceptionFeatures([layers[name] for name in names[: names.index(last) + 1]])


def build_efficientnet(name: str, state: dict[str, Tensor]) -> EfficientNetFeatures:
    """EfficientNet-Lite of that name with these weights.

    Raises:
        DataError: the package is not installed.
        RuntimeError: weights of another network.
    """
    package = import_package("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    network = package.EfficientNet.from_name(name)
    network.load_state_dict(state)
    return EfficientNetFeatures(network, EFFICIENTNET_SIZES[name])


def import_package(module: str, package: str) -> ModuleType:
    """Import a module of an optional package, with a stand-in for `torch.utils.model_zoo` where torch has none.

    Raises:
        DataError: it cannot be imported; says how to install it.
    """
    try:
        _ensure_model_zoo()
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"the package {package} cannot be imported ({error}); install it with: pip install {package}"
        ) from None


def _ensure_model_zoo() -> None:
    try:
        importlib.import_module(_MODEL_ZOO)
    except ImportError:
        stand_in = ModuleType(_MODEL_ZOO)
        stand_in.load_url = torch.hub.load_state_dict_from_url  # type: ignore[attr-defined]
        stand_in.tqdm = torch.hub.tqdm  # type: ignore[attr-defined]  # which torchvision takes from there
        sys.modules[_MODEL_ZOO] = stand_in
