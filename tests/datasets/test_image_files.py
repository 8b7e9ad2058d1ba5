"""Finding images: a natural order, and nothing that is named like an image passed over in silence."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpixelcnn.datasets.image_files import find_images, iter_images, natural_key, subfolders
from cpixelcnn.errors import DataError


def names(directory: Path, recursive: bool = True) -> list[str]:
    return [path.relative_to(directory).as_posix() for path in find_images(directory, recursive)]


def test_extensions_order_and_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("img10.PNG", "img9.png", "Img11.JPeG", "a.txt", ".b.png", "Thumbs.db", "png", "z.TIF", "sub/1.webp"):
        (tmp_path / name).touch()
    (tmp_path / ".hidden" / "x.png").touch()
    assert names(tmp_path) == ["img9.png", "img10.PNG", "Img11.JPeG", "z.TIF", "sub/1.webp"]
    assert names(tmp_path, recursive=False) == ["img9.png", "img10.PNG", "Img11.JPeG", "z.TIF"]


def test_what_only_looks_like_an_image_is_listed(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inside.png").touch()
    (tmp_path / "link.png").symlink_to("nowhere")
    assert names(tmp_path) == ["folder.png", "link.png"]
    assert subfolders(tmp_path) == []


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path) == ["a/1.png"], "each folder is searched once"


def test_a_link_that_leads_nowhere_hides_no_image(tmp_path: Path) -> None:
    """The system does not follow a link to itself; that used to end the search of the whole folder."""
    (tmp_path / "1.png").touch()
    for name in ("circle", "manifest.json"):
        (tmp_path / name).symlink_to(name)
    assert names(tmp_path) == ["1.png"]


def test_folders_that_are_linked_with_each_other_are_searched_once_each(tmp_path: Path) -> None:
    """Ten folders with links to all of them have 10! ways through; that used to take for ever."""
    for name in range(10):
        (tmp_path / str(name)).mkdir()
        (tmp_path / str(name) / "x.png").touch()
        for other in range(10):
            (tmp_path / str(name) / f"to-{other}").symlink_to(tmp_path / str(other))
    assert len(names(tmp_path)) == 10


def test_very_deep_folders(tmp_path: Path) -> None:
    """More levels than Python has stack frames."""
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        Path("x.png").touch()
    finally:
        os.chdir(here)
    errors: list[DataError] = []
    try:
        found = list(iter_images(tmp_path, on_error=errors.append))
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True, timeout=20)  # pytest's own would recurse
    assert len(found) + len(errors) == 1  # the system itself cannot name what lies so deep


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere cannot be listed"):
        find_images(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_an_unreadable_directory(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match="closed cannot be listed"):
        find_images(tmp_path)


@given(st.lists(st.text(max_size=8), unique=True))
def test_the_order_is_total(texts: list[str]) -> None:
    assert sorted(texts, key=natural_key) == sorted(reversed(texts), key=natural_key)  # noqa: C414 (the point)
