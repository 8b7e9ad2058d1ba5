"""Files of foreign origin that were changed at random: each is read, or refused with our own error, and in time.

The short test belongs to every run of the tests. The long one takes ten minutes, or CPIXELCNN_FUZZ_MINUTES; run it
with ``pytest -m slow -s tests/reliability/test_fuzz.py`` to see how often each kind of file was read and refused.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import struct
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from cpixelcnn.config import RunConfig
from cpixelcnn.datasets.cpen455 import read_listing
from cpixelcnn.datasets.decoding import attempt_image
from cpixelcnn.datasets.idx import read_idx_split
from cpixelcnn.errors import CpixelcnnError, DataError
from cpixelcnn.evaluation.calibration import CALIBRATIONS
from cpixelcnn.fid.frechet import load_statistics
from cpixelcnn.fid.weight_files import read_state
from cpixelcnn.model.weights import build_model, load_weights
from cpixelcnn.runs.environment import Environment, record_environment
from cpixelcnn.runs.layout import FILES, MANIFEST, read_results
from cpixelcnn.runs.metrics_log import METRICS, MetricsLog
from cpixelcnn.runs.models import find_model
from cpixelcnn.sampling.folder.reader import read_samples
from cpixelcnn.storage import file_digest
from cpixelcnn.training.checkpoint import find_checkpoint
from cpixelcnn.training.plan import read_request
from cpixelcnn.training.restoring import restore
from cpixelcnn.training.state import create_state

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1-run.tar.gz"
LONGEST = 10.0  # seconds of the processor for one file
IMAGES = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "pgm": "PPM"}


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        core: what of a sound file is changed: all of it, or what its checksums and sizes would otherwise protect.
        wrap: a file around a changed core, with the right checksums and sizes.
        path: where the file lies.
        read: reads it.
    """

    core: bytes
    wrap: Callable[[bytes], bytes]
    path: Path
    read: Callable[[], object]

    @property
    def is_json(self) -> bool:
        """Whether the core is JSON, so that values in it can be replaced."""
        return self.core.lstrip()[:1] in (b"{", b"[")


def as_it_is(core: bytes) -> bytes:
    return core


def in_zip(archive: bytes, member: str) -> Callable[[bytes], bytes]:
    """The archive with another content of one member."""

    def wrap(core: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
            for info in old.infolist():
                new.writestr(info.filename, core if info.filename == member else old.read(info))
        return buffer.getvalue()

    return wrap


def of_zip(path: Path, suffix: str) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Content of the member whose name ends so, and the archive around it."""
    archive = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        name = next(name for name in opened.namelist() if name.endswith(suffix))
        return opened.read(name), in_zip(archive, name)


def of_safetensors(content: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The header, and the file around it."""
    length = struct.unpack("<Q", content[:8])[0]
    return content[8 : 8 + length], lambda core: struct.pack("<Q", len(core)) + core + content[8 + length :]


def of_config(content: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The configuration in the header of a weight file, and the file around it."""
    header, wrap = of_safetensors(content)
    document = json.loads(header)
    metadata = document["__metadata__"]

    def with_config(core: bytes) -> bytes:
        changed = metadata | {"cpixelcnn_config": core.decode("utf-8", "replace")}
        return wrap(json.dumps({**document, "__metadata__": changed}).encode())

    return metadata["cpixelcnn_config"].encode(), with_config


def renew_digests(checkpoint: Path) -> None:
    """What somebody who means harm does after changing a file."""
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    manifest["files"] = {name: file_digest(checkpoint / name) for name in FILES}
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """Every kind of file of foreign origin, by name."""
    root = tmp_path_factory.mktemp("files")
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(root, filter="data")
    return {**of_a_run(root / "run"), **of_evaluation(root), **of_samples(root), **of_data(root)}


def of_a_run(run: Path) -> dict[str, Kind]:
    checkpoint = (run / "last").resolve()
    config = RunConfig.from_json(json.loads((run / "config.json").read_text()))
    state = create_state(config, None, torch.device("cpu"))
    weights, trainer = checkpoint / "ema.safetensors", checkpoint / "trainer.pt"

    def load() -> object:
        renew_digests(checkpoint)
        return build_model(*load_weights(find_model(run).path), weights)

    def resume() -> object:
        renew_digests(checkpoint)
        found = find_checkpoint(run)
        return restore(found.path, state) if found else None

    def metrics() -> object:
        log = MetricsLog(run, 9)
        return [log.append(record) for record in log.records[:1]]

    environment = Environment(*["x"] * 21)  # type: ignore[arg-type]
    record_environment(run, environment)
    results = json.dumps({"finished": True, "best_epoch": 3, "validation": {"bpd": 1.5}, "test": None}).encode()
    header, with_header = of_safetensors(weights.read_bytes())
    configuration, with_config = of_config(weights.read_bytes())
    pickled, in_trainer = of_zip(trainer, "data.pkl")
    plain = {
        "manifest": (checkpoint / MANIFEST, lambda: (find_model(run), find_checkpoint(run))),
        "metrics": (run / METRICS, metrics),
        "environment": (run / "environment.json", lambda: record_environment(run, environment)),
        "settings": (run / "config.json", lambda: read_request(run / "config.json")),
    }
    return {
        **{name: Kind(path.read_bytes(), as_it_is, path, read) for name, (path, read) in plain.items()},
        "results": Kind(results, as_it_is, run / "results.json", lambda: read_results(run)),
        "settings in TOML": Kind(
            b"[model]\nnr_filters = 8\n[train]\nlr = 1e-3\nthreads = '2'\n",
            as_it_is,
            run / "settings.toml",
            lambda: read_request(run / "settings.toml"),
        ),
        "weights": Kind(weights.read_bytes(), as_it_is, weights, load),
        "header of weights": Kind(header, with_header, weights, load),
        "configuration of weights": Kind(configuration, with_config, weights, load),
        "trainer": Kind(trainer.read_bytes(), as_it_is, trainer, resume),
        "pickle of the trainer": Kind(pickled, in_trainer, trainer, resume),
    }


def of_evaluation(root: Path) -> dict[str, Kind]:
    folder = root / "evaluation"
    folder.mkdir()
    weights, network, safetensors = folder / "model", folder / "network.pth", folder / "network.safetensors"
    weights.write_bytes(b"weights")
    numbers = {"temperature": 2.5, "n_images": 30, "views": 1}
    numbers |= dict.fromkeys(("nll_before", "nll_after", "ece_before", "ece_after"), 0.5)
    numbers |= dict.fromkeys(("bpd_mean", "bpd_low", "bpd_high"), 3.5)
    calibration = {"dataset": "embedded", "split": "validation", "images": "0" * 64, **numbers}
    document = json.dumps({"version": 1, "calibrations": {file_digest(weights): calibration}}).encode()
    statistics = folder / "statistics.npz"
    np.savez(statistics, mu=np.arange(3.0), sigma=np.eye(3), n=np.int64(9))
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros((), dtype=torch.int64)}
    torch.save(tensors, network)
    header, with_header = of_safetensors(save(tensors))
    pickled, in_network = of_zip(network, "data.pkl")
    array, in_statistics = of_zip(statistics, "sigma.npy")
    measure, look, look_again = (
        lambda: load_statistics(statistics, 3),
        lambda: read_state(network),
        lambda: read_state(safetensors),
    )
    return {
        "calibration": Kind(document, as_it_is, folder / "calibration.json", lambda: CALIBRATIONS.find(weights)),
        "statistics": Kind(statistics.read_bytes(), as_it_is, statistics, measure),
        "array of statistics": Kind(array, in_statistics, statistics, measure),
        "feature network": Kind(network.read_bytes(), as_it_is, network, look),
        "pickle of a feature network": Kind(pickled, in_network, network, look),
        "header of a feature network": Kind(header, with_header, safetensors, look_again),
    }


def of_samples(root: Path) -> dict[str, Kind]:
    folder, archive = root / "samples", root / "samples.npz"
    folder.mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "a-00000.png")
    manifest = {
        "manifest_version": 2,
        "image_channels": 3,
        "image_height": 8,
        "image_width": 8,
        "model": "tiny",
        "model_sha256": "0" * 64,
        "classes": ["a", "b"],
        "data": {"dataset": "embedded"},
        "settings": {"temperature": 1.0},
        "format": "png",
        "finished": True,
        "images": [{"file": "a-00000.png", "class": "a", "label": 0, "seed": 3}],
    }
    np.savez(archive, arr_0=np.zeros((3, 4, 4, 3), np.uint8), labels=np.arange(3))
    array, in_archive = of_zip(archive, "arr_0.npy")
    return {
        "manifest of samples": Kind(
            json.dumps(manifest).encode(), as_it_is, folder / MANIFEST, lambda: read_samples(folder)
        ),
        "archive of samples": Kind(archive.read_bytes(), as_it_is, archive, lambda: read_samples(archive)),
        "array of samples": Kind(array, in_archive, archive, lambda: read_samples(archive)),
    }


def decode(path: Path) -> object:
    attempted = attempt_image(path, channels=3, height=8, width=8)
    if attempted.image is None:
        raise DataError(attempted.reason)
    return attempted.image


def of_data(root: Path) -> dict[str, Kind]:
    folder = root / "data"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    idx = struct.pack(">BBBBI", 0, 0, 8, 1, 9) + bytes(range(9))
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, 9, 2, 2) + bytes(36))
    labels = folder / "train-labels-idx1-ubyte.gz"
    kinds = {
        "csv": Kind(
            b"path,label\na.png,0\nb.png,-1\n",
            as_it_is,
            folder / "train.csv",
            lambda: read_listing(folder / "train.csv"),
        ),
        "gzipped IDX": Kind(gzip.compress(idx), as_it_is, labels, lambda: read_idx_split(folder, "MNIST", "train")),
        "IDX": Kind(idx, gzip.compress, labels, lambda: read_idx_split(folder, "MNIST", "train")),
    }
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    for suffix, name in IMAGES.items():
        path, buffer = folder / f"image.{suffix}", io.BytesIO()
        (picture.convert("L") if suffix == "pgm" else picture).save(buffer, format=name)
        kinds[name] = Kind(buffer.getvalue(), as_it_is, path, lambda path=path: decode(path))
    return kinds


NASTY_BYTES = [b"", b"\0", b"\xff" * 8, b"[" * 5000, b"9" * 400, b"NaN", b'"', b"\xed\xa0\x80", b"-", b"1e999", b"\n"]
NASTY_SIZES = [0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
NASTY_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 10**6, 2**31, 2**63, 2**64, 10**30, 10**400, 1e308, -1e308, float("nan")),
    *("", "x", "..", "/dev/zero", "\0", "\x1b[2J", "\ud800", "a" * 300, [], {}, [[]], {"": None}, [None] * 3),
]


@st.composite
def changed(draw: st.DrawFn, kind: Kind) -> bytes:
    """The core of a sound file after one to four changes."""
    core = kind.core
    for _ in range(draw(st.integers(1, 4))):
        replace = kind.is_json and draw(st.booleans())
        core = (replace_value(draw, core) if replace else None) or change_bytes(draw, core)
    return core


def change_bytes(draw: st.DrawFn, core: bytes) -> bytes:
    """Flip a bit, cut, leave out, insert, repeat, or set a number of 2, 4 or 8 bytes."""
    place = draw(st.integers(0, max(len(core) - 1, 0)))
    before, after = core[:place], core[place:]
    length = draw(st.integers(1, 64))
    match draw(st.sampled_from(["flip", "cut", "omit", "insert", "repeat", "size"])):
        case "flip" if after:
            return before + bytes([after[0] ^ (1 << draw(st.integers(0, 7)))]) + after[1:]
        case "cut":
            return before
        case "omit":
            return before + after[length:]
        case "insert":
            return before + draw(st.sampled_from(NASTY_BYTES) | st.binary(max_size=8)) + after
        case "repeat":
            return before + after[:length] * draw(st.integers(2, 50)) + after[length:]
        case "size":
            width, order = draw(st.sampled_from([2, 4, 8])), draw(st.sampled_from(["big", "little"]))
            number = draw(st.sampled_from(NASTY_SIZES)) % 2 ** (8 * width)
            return before + number.to_bytes(width, order) + after[width:]  # type: ignore[arg-type]
    return core


def replace_value(draw: st.DrawFn, core: bytes) -> bytes | None:
    """Replace, remove, add or nest a value somewhere in JSON (the first line of it); None if it is no JSON any more."""
    line, newline, rest = core.partition(b"\n") if core.count(b"\n{") else (core, b"", b"")
    try:
        document = copy.deepcopy(json.loads(line))
        places = list(containers(document))
        container, key = draw(st.sampled_from(places))
        value = draw(st.sampled_from(NASTY_VALUES))
        match draw(st.sampled_from(["replace", "remove", "add", "nest"])):
            case "replace":
                container[key] = value
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[str(value)] = value
            case _:
                for _ in range(draw(st.sampled_from([1, 30, 200]))):
                    container[key] = [container[key]]
        return json.dumps(document).encode() + newline + rest
    except (ValueError, RecursionError, IndexError, KeyError, TypeError):
        return None


def containers(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value in a JSON document: what it lies in, and its key or index there."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from containers(value[key])


@contextmanager
def in_place(kind: Kind, content: bytes) -> Iterator[None]:
    """The file with that content; what lies around it is as it was afterwards, whatever the reader does."""
    folder = kind.path.parent
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    kind.path.unlink(missing_ok=True)
    kind.path.write_bytes(content)
    try:
        yield
    finally:
        for path in [path for path in folder.iterdir() if path.is_file() and path not in before]:
            path.unlink()
        for path, old in before.items():
            if not path.is_file() or path.read_bytes() != old:
                path.write_bytes(old)


def attempt(kind: Kind, content: bytes) -> str:
    """Whether a file is read or refused; anything else, and slowness, fails."""
    with in_place(kind, content):
        start = (
            time.process_time()
        )  # a busy machine makes everything slow by the clock; what waits, the test's limit ends
        try:
            kind.read()
            outcome = "read"
        except CpixelcnnError:
            outcome = "refused"
        assert time.process_time() - start < LONGEST
    return outcome


def fuzz(kinds: dict[str, Kind], examples: int, counts: Counter[tuple[str, str]], *, repeatable: bool) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    @settings(max_examples=examples, deadline=None, database=None, derandomize=repeatable, suppress_health_check=checks)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(kinds)))
        kind = kinds[name]
        counts[name, attempt(kind, kind.wrap(data.draw(changed(kind))))] += 1

    run()


def test_sound_files_are_read(kinds: dict[str, Kind]) -> None:
    for name, kind in kinds.items():
        assert attempt(kind, kind.wrap(kind.core)) == "read", name


def test_changed_files_are_read_or_refused(kinds: dict[str, Kind]) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    fuzz(kinds, 150, counts, repeatable=True)
    assert counts.total() >= 150


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_changed_files_are_read_or_refused_for_long(kinds: dict[str, Kind]) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    end = time.monotonic() + 60 * float(os.environ.get("CPIXELCNN_FUZZ_MINUTES", "10"))
    while time.monotonic() < end:
        fuzz(kinds, 1000, counts, repeatable=False)
    for name in sorted(kinds):
        print(f"{name:30} read {counts[name, 'read']:6}  refused {counts[name, 'refused']:6}")
    print(f"{'all':30} read {sum(counts[n, 'read'] for n in kinds):6}  of {counts.total()}")
