"""The layout of the cpen455 course: tolerant of how csv files are written, strict about what they say."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from cpixelcnn.config import DataConfig
from cpixelcnn.datasets.compression import COMPRESSIONS
from cpixelcnn.datasets.cpen455 import CLASSES, read_listing
from cpixelcnn.datasets.registry import load_split
from cpixelcnn.errors import BadImagesError, DataError

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY / os.environ.get("CPIXELCNN_CPEN455", "../shared/data/cpen455")


def make_images(root: Path, count: int, folder: str = "train") -> list[str]:
    (root / folder).mkdir(exist_ok=True)
    for index in range(count):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(root / folder / f"{index}.png")
    return [f"{folder}/{index}.png" for index in range(count)]


def listed(root: Path, content: bytes) -> list[tuple[str, int]]:
    (root / "train.csv").write_bytes(content)
    listing = read_listing(root / "train.csv")
    names = [path.relative_to(root).as_posix() for path in listing.paths]
    return list(zip(names, listing.labels.tolist(), strict=True))


@pytest.mark.parametrize(
    "content",
    [
        b"train/0.png,3\ntrain/1.png,-1\n",
        b"train/0.png,3\ntrain/1.png,-1",
        b"train/0.png,3\r\ntrain/1.png,-1\r\n",
        b"\xef\xbb\xbftrain/0.png,3\ntrain/1.png,-1\n",
        b"path,label\ntrain/0.png,3\ntrain/1.png,-1\n",
        b"\xef\xbb\xbf\r\npath, label\r\n\r\n  train/0.png ,\t3 \r\n , \r\n./train/1.png,-1\r\n\r\n",
        b'"train/0.png","3"\n"train/1.png","-1"\n',
    ],
    ids=["plain", "no end", "crlf", "bom", "header", "everything", "quotes"],
)
def test_tolerated(tmp_path: Path, content: bytes) -> None:
    make_images(tmp_path, 2)
    assert listed(tmp_path, content) == [("train/0.png", 3), ("train/1.png", -1)]


def test_all_problems_are_listed_at_once_with_their_lines(tmp_path: Path) -> None:
    make_images(tmp_path, 3)
    lines = [
        "path,label",
        "train/0.png,0",
        "train/absent.png,1",
        "train/1.png,cat",
        "train/1.png,4",
        "train/1.png,-2",
        "../train/1.png,1",
        "train/../../x.png,1",
        "/etc/passwd,1",
        r"C:\x.png,1",
        "./train/0.png,0",
        "train/2.png",
        "train/2.png,1,2",
        ",1",
        "train/2.png,1.0",
    ]
    with pytest.raises(DataError) as caught:
        listed(tmp_path, "\n".join(lines).encode())
    assert caught.value.exit_code == 3
    head, *problems = str(caught.value).splitlines()
    assert head.startswith("13 lines of ") and "train.csv cannot be used" in head
    for number, problem in enumerate(problems, start=3):
        assert problem.startswith(f"  line {number}: ")
    for number, words in {
        3: "does not exist",
        4: "'cat' is no integer",
        5: "4 is neither -1 nor one of 0 to 3",
        7: "leads out",
        8: "leads out",
        9: "leads out",
        10: "leads out",
        11: "in line 2 already",
        12: "1 fields",
        14: "empty",
    }.items():
        assert words in problems[number - 3]


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 20: .*\n  \.\.\. and 10 more$"):
        listed(tmp_path, b"".join(b"%d.png,0\n" % index for index in range(30)))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"path,label\n"])
def test_a_file_without_images(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match="lists no images"):
        listed(tmp_path, content)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a csv file"):
        listed(tmp_path, b"\xff\xfe\x00\x01\n")


def test_missing_csv_files(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        with pytest.raises(DataError, match=r"there is no .*\.csv; check `data_dir`"):
            load_split(DataConfig("cpen455", str(tmp_path)), split)


def write_train(root: Path, count: int = 40) -> DataConfig:
    paths = make_images(root, count)
    (root / "train.csv").write_text("".join(f"{path},{index % 4}\n" for index, path in enumerate(paths)))
    return DataConfig("cpen455", str(root), image_size=8)


def test_a_missing_validation_split_is_drawn_from_the_training_images(tmp_path: Path) -> None:
    config = write_train(tmp_path)
    train, validation = load_split(config, "train"), load_split(config, "validation")
    assert train.class_counts == (9, 9, 9, 9) and validation.class_counts == (1, 1, 1, 1)
    assert train.paths and validation.paths and not set(train.paths) & set(validation.paths)
    assert validation.origin == "held out from train.csv (0.1 of each class, seed 0)"
    for index, path in enumerate(validation.paths):
        assert int(validation.images[index, 0, 0, 0]) == int(path.stem)


def test_an_own_validation_split_is_used(tmp_path: Path) -> None:
    config = write_train(tmp_path)
    make_images(tmp_path, 1, "validation")
    (tmp_path / "validation.csv").write_text("validation/0.png,2\n")
    assert len(load_split(config, "train")) == 40
    validation = load_split(config, "validation")
    assert validation.labels.tolist() == [2] and validation.origin == "validation.csv"
    assert validation.classes == CLASSES


def test_bad_images_stop_or_are_skipped_and_move_nothing(tmp_path: Path) -> None:
    config = write_train(tmp_path)
    before = load_split(config, "train")
    (tmp_path / "train" / "7.png").write_bytes(b"")
    (tmp_path / "train" / "8.png").unlink()
    (tmp_path / "train" / "8.png").symlink_to("nowhere")
    everything = [load_split(_skipping(config), split) for split in ("train", "validation")]
    assert sum(part.nr_skipped for part in everything) == 2
    kept = everything[0].paths or ()
    assert [path for path in before.paths or () if path.stem not in ("7", "8")] == list(kept)
    with pytest.raises(BadImagesError):
        for split in ("train", "validation"):
            load_split(config, split)


def test_missing_files_are_skipped_on_request(tmp_path: Path) -> None:
    config = write_train(tmp_path)
    make_images(tmp_path, 2, "test")
    (tmp_path / "test.csv").write_text("test/0.png,-1\ntest/5.png,-1\ntest/1.png,-1\n")
    with pytest.raises(DataError, match=r"line 2: test/5\.png does not exist"):
        load_split(config, "test")
    test = load_split(_skipping(config), "test")
    assert len(test) == 2 and test.nr_skipped == 1 and not test.labelled


def test_nothing_but_bad_images_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    config = write_train(tmp_path)
    (tmp_path / "test.csv").write_text("gone.png,0\n")
    with pytest.raises(BadImagesError, match="1 image cannot be used"):
        load_split(_skipping(config), "test")


def _skipping(config: DataConfig) -> DataConfig:
    return DataConfig(config.dataset, config.data_dir, config.image_size, skip_bad=True)


@pytest.mark.skipif(not REAL.is_dir(), reason="the cpen455 images are not here (CPIXELCNN_CPEN455)")
@pytest.mark.parametrize(("split", "count"), [("train", 3640), ("validation", 519), ("test", 519)])
def test_the_real_images(split: str, count: int) -> None:
    images = load_split(DataConfig("cpen455", str(REAL)), split)
    assert images.images.shape == (count, 3, 32, 32)
    assert set(images.labels.tolist()) == ({-1} if split == "test" else {0, 1, 2, 3})
    assert images.labelled == (split != "test")
    assert 60 < images.images.to(torch.float32).mean() < 180
    if split == "validation":
        assert images.class_counts == (130, 130, 130, 129)
        for path in images.paths:
            with Image.open(path) as image:
                assert COMPRESSIONS["cpen455"].matches(image), path
