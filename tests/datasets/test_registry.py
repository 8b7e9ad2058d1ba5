"""The data sets by name: what is known of each, and what is said of one that cannot be loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from cpixelcnn.config import DataConfig, field_help
from cpixelcnn.datasets.registry import DATASETS, dataset_info, load_split
from cpixelcnn.errors import ConfigError, DataError


def test_every_data_set_is_described_and_offered() -> None:
    for name, info in DATASETS.items():
        assert info.name == name and info.description and info.channels in (1, 3)
        assert info.size % 4 == 0
        assert name in field_help(DataConfig, "dataset")
    assert not DATASETS["embedded"].needs_data_dir
    assert (DATASETS["mnist"].channels, DATASETS["mnist"].size) == (1, 28)


@pytest.mark.parametrize(
    ("name", "words"),
    [("cifar", "did you mean 'cifar10'?"), ("Mnist", "did you mean 'mnist'?"), ("xyz", "there are: embedded, cpen455")],
)
def test_an_unknown_name_gets_a_suggestion_or_the_list(name: str, words: str) -> None:
    for attempt in (lambda: dataset_info(name), lambda: load_split(DataConfig(name), "train")):
        with pytest.raises(ConfigError) as caught:
            attempt()
        message = str(caught.value)
        assert words in message
        assert caught.value.exit_code == 2


def test_an_unknown_split() -> None:
    with pytest.raises(ConfigError, match="`split` dev is not known; there are train, validation, test"):
        load_split(DataConfig(), "dev")


@pytest.mark.parametrize("name", [name for name, info in DATASETS.items() if info.needs_data_dir])
def test_the_data_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"the data set {name} needs `data_dir`"):
        load_split(DataConfig(name), "train")
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        load_split(DataConfig(name, str(tmp_path / "nowhere")), "train")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is not a directory"):
        load_split(DataConfig(name, str(tmp_path / "file")), "train")


@pytest.mark.parametrize("directory", ["x" * 300, "~nouser/x", "a\0b", "/dev/null", "-x"])
def test_a_data_directory_that_cannot_be_one(directory: str) -> None:
    with pytest.raises(DataError, match=r"does not exist|is not a directory|home of nobody"):
        load_split(DataConfig("folder", directory), "train")


def test_a_data_directory_without_its_data_set(tmp_path: Path) -> None:
    """Else the photographs that a newcomer names are passed over in silence, in favour of the embedded images."""
    with pytest.raises(ConfigError, match="name the kind of the images with `dataset`"):
        load_split(DataConfig(data_dir=str(tmp_path)), "train")


def test_images_as_grey_or_as_rgb(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.new("RGB", (8, 8), (index, 200, 0)).save(tmp_path / name / f"{index}.png")
    as_stored = load_split(DataConfig("folder", str(tmp_path)), "train")
    grey = load_split(DataConfig("folder", str(tmp_path), channels=1), "train")
    assert as_stored.images.shape[1] == 3 and grey.images.shape[1] == 1
    assert int(grey.images[0].float().mean()) == pytest.approx(0.299 * int(as_stored.images[0, 0, 0, 0]) + 117.4, abs=1)
    embedded = load_split(DataConfig(train_size=4, image_size=8, channels=1), "train")
    assert embedded.images.shape == (4, 1, 8, 8)
    with pytest.raises(ConfigError, match="`channels` must be 1 or 3"):
        DataConfig(channels=2)


@pytest.mark.parametrize("name", ["folder", "cpen455", "mnist"])
def test_a_data_directory_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read whatever has no permissions
    with pytest.raises(DataError, match="may not be read"):
        load_split(DataConfig(name, str(tmp_path)), "train", download=True)


def test_only_what_can_be_downloaded_may_lack_its_directory(tmp_path: Path) -> None:
    for name in ("folder", "cpen455"):
        with pytest.raises(DataError, match="does not exist"):
            load_split(DataConfig(name, str(tmp_path / "nowhere")), "train", download=True)


def test_the_embedded_splits() -> None:
    config = DataConfig(train_size=40, image_size=8)
    parts = {split: load_split(config, split) for split in ("train", "validation", "test")}
    assert [part.images.shape for part in parts.values()] == [(n, 3, 8, 8) for n in (40, 500, 1000)]
    for split, part in parts.items():
        assert part.name == "embedded" and part.split == split and part.labelled and part.paths is None
        assert part.classes == ("hamburger", "panda", "koala", "pizza") and len(set(part.class_counts)) == 1
    again = load_split(config, "train")
    assert torch.equal(again.images, parts["train"].images)
    other = load_split(DataConfig(train_size=40, image_size=8, split_seed=1), "train")
    assert not torch.equal(other.images, parts["train"].images)


def test_the_embedded_default_size() -> None:
    assert load_split(DataConfig(train_size=4), "train").images.shape == (4, 3, 32, 32)


def test_embedded_images_that_cannot_be_drawn() -> None:
    with pytest.raises(ConfigError, match="`image_size` must be 8 or more"):
        load_split(DataConfig(image_size=4), "train")
    with pytest.raises(ConfigError, match="`split_seed` must be 0 or more"):
        load_split(DataConfig(split_seed=-1), "train")


def test_the_table_needs_no_torch() -> None:
    code = "import sys, cpixelcnn.datasets.registry; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
