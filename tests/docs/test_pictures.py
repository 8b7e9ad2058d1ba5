"""The pictures of the documentation can be drawn from any model."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cpixelcnn.config import DataConfig, RunConfig, TrainConfig
from cpixelcnn.datasets.drawings import CLASSES
from cpixelcnn.model.network import PixelCNN
from cpixelcnn.model.weights import save_weights

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "make_pictures.py"


def test_every_picture_is_drawn(
    tmp_path: Path, make_model: Callable[..., PixelCNN], capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(classes=CLASSES, image_height=8, image_width=8)
    save_weights(
        tmp_path / "model.safetensors",
        model.state_dict(),
        RunConfig(model.config, DataConfig(image_size=8), TrainConfig()),
    )
    spec = importlib.util.spec_from_file_location("make_pictures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = ["--model", str(tmp_path / "model.safetensors"), "--columns", "2", "--temperature", "0.9"]
    module.main([*options, "--out", str(tmp_path / "pictures")])
    names = ["completions", "guidance", "samples", "strip", "temperature"]
    assert sorted(path.stem for path in (tmp_path / "pictures").iterdir()) == names
    for name in names:
        with Image.open(tmp_path / "pictures" / f"{name}.png") as picture:
            assert 100 < picture.width < 1200
    assert capsys.readouterr().out.count("wrote ") == len(names)
