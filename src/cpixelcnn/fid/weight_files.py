"""The weight files of the feature networks: found or fetched, verified, and read without running what is in them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from cpixelcnn.errors import DataError, first_line
from cpixelcnn.foreign_files import UnreadableFileError, read_pickled, read_safetensors_header
from cpixelcnn.storage import file_digest

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{INCEPTION_FILE}"
INCEPTION_DIGEST = "6726825d"  # the first 8 hexadecimal digits of its SHA-256, all that its publisher states
EFFICIENTNET_DIGESTS = {  # SHA-256 of the file in each package
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
REMEDY = f"download {INCEPTION_FILE} from the pytorch-fid project's releases and pass it with `weights`"
_DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer or a byte
_LARGEST = 1 << 30  # bytes of a weight file; Inception's has 95 million


def inception_file(allow_download: bool) -> Path:
    """The published weight file in torch hub's cache, fetched into it if need be; verified in either case.

    Raises:
        DataError: it is damaged, or neither there nor to be fetched.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if path.is_file():
        if not digest(path).startswith(INCEPTION_DIGEST):
            raise DataError(f"{path} is damaged (its SHA-256 is another); delete it and try again")
        return path
    if not allow_download:
        raise DataError(f"the weights are not in {path.parent}; {REMEDY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Torch hub writes a temporary file, verifies it, then moves it into place.
        with _socket_timeout(_DOWNLOAD_TIMEOUT):
            torch.hub.download_url_to_file(INCEPTION_URL, str(path), INCEPTION_DIGEST, progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        raise DataError(f"the weights could not be fetched ({first_line(error)}); {REMEDY}") from None
    return path


def digest(path: Path) -> str:
    """SHA-256 of a weight file, in hexadecimal.

    Raises:
        DataError: it cannot be read, or is no regular file of a plausible size.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(f"{error}; {REMEDY}") from None


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors file or one of torch.save; code within the file never runs.

    Raises:
        DataError: the file is damaged or hostile, or does not hold finite tensors by name.
    """
    try:
        state = _read_safetensors(path) if path.suffix == ".safetensors" else read_pickled(path, _LARGEST)
    except (UnreadableFileError, SafetensorError) as error:
        reason = error.reason if isinstance(error, UnreadableFileError) else first_line(error)
        raise DataError(f"{path} is not a readable file of weights ({reason}); {REMEDY}") from None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise DataError(f"{path} does not hold tensors by name; {REMEDY}")
    if not all(_is_dense(tensor) for tensor in state.values()):
        raise DataError(f"{path} holds tensors that are larger than what is stored of them; {REMEDY}")
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise DataError(f"{path} holds weights that are not finite; {REMEDY}")
    return state


def _read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    read_safetensors_header(path)
    return load_file(path)


def _is_dense(tensor: Tensor) -> bool:
    """Whether a tensor is as large as its memory: a stride of 0 makes a tensor of any size out of one number."""
    strided = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return strided and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


@contextmanager
def refusing_other_weights(path: Path) -> Iterator[None]:
    """Turn what torch raises on names or shapes that are not the network's into a `DataError`."""
    try:
        yield
    except RuntimeError:
        raise DataError(f"{path} holds weights of another network; {REMEDY}") from None


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """While open, connections give up after so long without a byte; torch hub has no option for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
