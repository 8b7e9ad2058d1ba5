"""`best` and `last` as links, as files where there can be no links, and as directories in a run that was copied."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.runs.layout import MANIFEST, checkpoint_name, checkpoint_paths
from cpixelcnn.runs.pointers import followed, point, pointed

DIGESTS = dict.fromkeys(("model.safetensors", "ema.safetensors", "trainer.pt", "config.json"), "0" * 64)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints, of which only the manifests matter here."""
    from cpixelcnn.storage import write_json

    for step in (1, 2):
        checkpoint = tmp_path / "run" / "checkpoints" / checkpoint_name(step)
        checkpoint.mkdir(parents=True)
        write_json(checkpoint / MANIFEST, {"manifest_version": 1, "step": step, "files": DIGESTS})
    return tmp_path / "run"


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a FAT or an SMB file system."""

    def symlink(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", symlink)


def as_link(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    point(run, "best", checkpoint_name(1))
    assert (run / "best").is_symlink()
    return run


def as_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    refuse_links(monkeypatch)
    point(run, "best", checkpoint_name(1))
    assert (run / "best").read_text() == "step-00000001\n"
    return run


def as_copy(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    point(run, "best", checkpoint_name(1))
    copied = run.with_name("copied")
    shutil.copytree(run, copied, symlinks=False)
    assert (copied / "best").is_dir()
    assert not (copied / "best").is_symlink()
    return copied


FORMS = {"link": as_link, "file": as_file, "copy": as_copy}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_and_replaced(run: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    run = FORMS[form](run, monkeypatch)
    assert pointed(run, "best") == followed(run / "best") == run / "checkpoints" / "step-00000001"
    assert pointed(run, "last") is None
    assert followed(run / "last") == run / "last"
    point(run, "best", checkpoint_name(2))
    assert pointed(run, "best") == run / "checkpoints" / "step-00000002"
    assert (run / "best").is_symlink() is (form != "file")
    assert len(checkpoint_paths(run)) == 2
    assert sorted(os.listdir(run)) == ["best", "checkpoints"]


def test_a_copy_is_all_that_is_left_of_a_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = as_copy(run, monkeypatch)
    shutil.rmtree(run / "checkpoints" / "step-00000001")
    assert pointed(run, "best") == run / "best"
    point(run, "best", checkpoint_name(2))
    assert [path.name for path in checkpoint_paths(run)] == ["step-00000001", "step-00000002"]


def test_a_directory_of_the_users_own_stays(run: Path) -> None:
    (run / "best").mkdir()
    (run / "best" / "picture.png").touch()
    assert pointed(run, "best") is None
    with pytest.raises(OSError, match="no checkpoint"):
        point(run, "best", checkpoint_name(1))
    assert os.listdir(run / "best") == ["picture.png"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"/etc", b"../../run/checkpoints/step-00000001", b"step-00000009", b"\xff\x00", b"x" * 10**6],
)
def test_files_that_name_no_checkpoint(run: Path, content: bytes) -> None:
    (run / "best").write_bytes(content)
    assert pointed(run, "best") is None
    point(run, "best", checkpoint_name(1))
    assert pointed(run, "best") == run / "checkpoints" / "step-00000001"


def test_links_that_lead_nowhere_or_in_a_circle(run: Path) -> None:
    for target in ("checkpoints/step-00000009", "best", "/nowhere"):
        (run / "best").unlink(missing_ok=True)
        (run / "best").symlink_to(target)
        if target != "best":
            assert pointed(run, "best") is None
        point(run, "best", checkpoint_name(1))
        assert pointed(run, "best") == run / "checkpoints" / "step-00000001"


def test_a_link_to_a_checkpoint_elsewhere(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "checkpoints" / "step-00000001", tmp_path / "elsewhere")
    (run / "best").symlink_to(tmp_path / "elsewhere")
    assert pointed(run, "best") == run / "best"


def test_neither_link_nor_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch)
    original: Callable[..., None] = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == "best":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        point(run, "best", checkpoint_name(1))
    assert os.listdir(run) == ["checkpoints"]
