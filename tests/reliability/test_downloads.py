"""Number 39: of processes that start cold at the same time, one fetches what is missing, or each fetches it whole."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cpixelcnn.cli.training_images import read_images
from cpixelcnn.config import RunConfig
from cpixelcnn.datasets import registry
from cpixelcnn.fid import weight_files
from cpixelcnn.storage import file_digest
from cpixelcnn.training.plan import Plan


def fetch() -> int:
    """Begin to fetch the weights in a process of its own, whose number is returned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forking beside threads; this child starts none
        child = os.fork()
    if child == 0:
        try:
            os._exit(weight_files.inception_file(allow_download=True).stat().st_size != 102_400)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(2)
    return child


def test_two_processes_fetch_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    published = tmp_path / "published"
    published.write_bytes(bytes(range(256)) * 400)
    monkeypatch.setattr(weight_files, "INCEPTION_URL", published.as_uri())
    monkeypatch.setattr(weight_files, "INCEPTION_DIGEST", file_digest(published)[:8])
    both = [fetch(), fetch()]
    assert [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in both] == [0, 0]
    (only,) = (tmp_path / "torch" / "hub" / "checkpoints").iterdir()
    assert only.read_bytes() == published.read_bytes()


@pytest.mark.parametrize("is_main", [True, False])
def test_one_process_fetches_before_the_others_look(monkeypatch: pytest.MonkeyPatch, is_main: bool) -> None:
    """What the first process fetches is there when the others begin to read."""
    events: list[str] = []

    @contextmanager
    def together() -> Iterator[None]:
        yield
        events.append("all have come so far")

    def load_split(config: Any, split: str, **options: Any) -> Any:
        events.append(f"reads {split}")
        return SimpleNamespace(notes=(), nr_skipped=0, origin="", labelled=True)

    monkeypatch.setattr(registry, "load_split", load_split)
    processes: Any = SimpleNamespace(
        together=together, is_main=is_main, alone=False, all_gather=lambda value: [value, value]
    )
    read_images(Plan(RunConfig(), Path("run")), processes, download=True, test=False)
    assert events[: 1 + is_main] == ["reads train", "all have come so far"][1 - is_main :]
    assert events[1 + is_main :] == ["reads train", "reads validation", "all have come so far"]
