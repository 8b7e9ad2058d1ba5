"""Numbers 38, 39, 41 to 44 and 46 for `fid`, as a user meets them; number 40 is about workers, which it has not."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cpixelcnn.errors import DataError
from cpixelcnn.fid import extractor, features, weight_files
from cpixelcnn.fid.features import FeatureNetwork

Cli = Callable[..., Any]
DIMS = 5


class Contrasts(nn.Module):
    """Five features of an image of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.randn(DIMS, 3, 3, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.conv2d(images, self.filters).square().mean(dim=(2, 3))


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fid` takes a network that costs nothing."""

    def choose(*_: object) -> FeatureNetwork:
        return FeatureNetwork("contrasts", DIMS, "as they are", "no file", "digest", True, Contrasts())

    monkeypatch.setattr(features, "choose_features", choose)


@pytest.fixture
def data(photographs: Path) -> list[object]:
    return ["--dataset", "folder", "--data-dir", photographs, "--device", "cpu", "--json"]


def constant_images(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", (8, 8), (90, 90, 90)).save(folder / f"{i}.png")
    return folder


@pytest.mark.usefixtures("small_network")
def test_38_what_samples_without_classes_leave_unknown(cli: Cli, photographs: Path, data: list[object]) -> None:
    outcome = cli("fid", "--samples", photographs / "test", *data)
    assert outcome.code == 0, outcome.err
    assert outcome.document["balance"]["samples"] is None
    assert outcome.document["balance"]["reference"] == [2, 2, 2, 2]
    outcome = cli("fid", "--samples", photographs / "test", *data, "--per-class")
    assert outcome.code == 3
    assert "--per-class needs samples of known classes" in outcome.document["error"]


class Broken(http.server.BaseHTTPRequestHandler):
    """Promises a file and hangs up after its first bytes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"PK\x03\x04" + bytes(1000))

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def broken_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/weights.pth"
        server.shutdown()


def test_39_43_an_interrupted_download_is_not_taken_for_complete(
    cli: Cli, photographs: Path, data: list[object], broken_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "INCEPTION_URL", broken_server)
    for _ in range(2):  # the second time nothing of the first is found
        outcome = cli("fid", "--samples", photographs / "test", *data, "--dims", 64)
        assert outcome.code == 3
        assert "could not be fetched" in outcome.document["error"]
        assert weight_files.INCEPTION_FILE in outcome.document["error"]
        assert "pass it with --weights" in outcome.document["error"]
    assert not [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


@pytest.mark.usefixtures("small_network")
def test_41_a_set_against_itself_is_zero(cli: Cli, photographs: Path, data: list[object]) -> None:
    for batch_size in (1, 3, 50):
        outcome = cli("fid", "--samples", photographs / "test", *data, "--batch-size", batch_size)
        assert outcome.code == 0, outcome.err
        assert outcome.document["value"] < 1e-9
        assert outcome.document["neighbours"]["precision"] == outcome.document["neighbours"]["recall"] == 1


@pytest.mark.usefixtures("small_network")
def test_42_few_and_constant_images(cli: Cli, data: list[object], tmp_path: Path) -> None:
    outcome = cli("fid", "--samples", constant_images(tmp_path / "one", 1), *data)
    assert outcome.code == 3
    assert "at least 2 images on either side" in outcome.document["error"]
    outcome = cli("fid", "--samples", constant_images(tmp_path / "four", 4), *data)
    assert outcome.code == 0, outcome.err
    assert "4 samples for 5 dimensions: their covariance is rank-deficient" in outcome.err
    constant = constant_images(tmp_path / "six", 6)
    for reference in ([*data], ["--reference", constant, "--device", "cpu", "--json"]):
        outcome = cli("fid", "--samples", constant, *reference)
        assert outcome.code == 0, outcome.err
        assert outcome.document["value"] >= 0  # and the document refuses what is not finite


class Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.usefixtures("small_network")
def test_44_files_of_statistics_or_features_that_are_none(cli: Cli, photographs: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    poison = np.array([Payload(marker)] * DIMS, dtype=object)
    for name, arrays in {
        "keys": {"mean": np.zeros(DIMS), "covariance": np.eye(DIMS)},
        "poison": {"mu": poison, "sigma": np.eye(DIMS)},
        "features": {"features": poison},
        "alone": {"features": np.zeros((9, DIMS), np.float32)},
    }.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        reference = ["--reference", tmp_path / f"{name}.npz", "--device", "cpu", "--json"]
        outcome = cli("fid", "--samples", photographs / "test", *reference)
        assert outcome.code == 3, name
        assert f"{name}.npz is not a" in outcome.document["error"]
    assert not marker.exists()


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize(
    ("failure", "code"),
    [(KeyboardInterrupt(), 130), (RuntimeError("out of order"), 1), (DataError("no such pixels"), 3)],
)
def test_46_one_document_whatever_happens(
    cli: Cli,
    photographs: Path,
    data: list[object],
    failure: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> Tensor:
        raise failure

    monkeypatch.setattr(extractor, "extract_features", fail)
    outcome = cli("fid", "--samples", photographs / "test", *data)
    assert outcome.code == code
    assert set(outcome.document) == {"error", "exit_code"}
    assert outcome.document["exit_code"] == code
