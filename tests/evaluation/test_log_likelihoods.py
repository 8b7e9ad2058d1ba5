"""The file of log-likelihoods: everything that scores are made from, whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cpixelcnn.datasets.image_set import ImageSet
from cpixelcnn.evaluation.log_likelihoods import save_log_likelihoods


def image_set(paths: tuple[Path, ...] | None) -> ImageSet:
    images = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    return ImageSet(images, torch.tensor([1, -1, 0]), ("ant", "bee"), "insects", "test", paths)


def test_what_is_written_is_read_without_pickles(tmp_path: Path) -> None:
    values = torch.randn(3, 2, dtype=torch.float64)
    paths = (Path("a.png"), Path("käfer/b.png"), Path("c.png"))
    save_log_likelihoods(tmp_path / "likelihoods", values, image_set(paths))
    with np.load(tmp_path / "likelihoods", allow_pickle=False) as file:
        assert set(file) == {"log_likelihoods", "labels", "classes", "files"}
        assert np.array_equal(file["log_likelihoods"], values.numpy())
        assert file["labels"].tolist() == [1, -1, 0]
        assert file["classes"].tolist() == ["ant", "bee"]
        assert file["files"].tolist() == [str(path) for path in paths]


def test_images_without_files_have_empty_names(tmp_path: Path) -> None:
    save_log_likelihoods(tmp_path / "x.npz", torch.zeros(3, 2, dtype=torch.float64), image_set(None))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert file["files"].tolist() == ["", "", ""]


def test_a_failed_write_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"older")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="No space"):
        save_log_likelihoods(path, torch.zeros(3, 2, dtype=torch.float64), image_set(None))
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]
