"""The layout of the cpen455 course: ``train.csv``, ``validation.csv`` and ``test.csv`` beside the folders they name.

A line is ``path,label``: a path relative to the data directory and the number of a class, or -1 where it is not known.
A header, a byte order mark, either line ending, blank lines and spaces around the fields are tolerated. Where there is
no ``validation.csv``, a validation split is held out from ``train.csv``.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import torch

from cpixelcnn.datasets.image_files import is_image_name
from cpixelcnn.datasets.image_set import UNLABELLED, ImageSet
from cpixelcnn.datasets.listing import Listing, SplitRequest
from cpixelcnn.datasets.splits import derive_split
from cpixelcnn.errors import DataError, plural
from cpixelcnn.foreign_files import MissingFileError, UnreadableFileError, read_text

# The course calls them Class0 to Class3; these are what the pictures show.
CLASSES = ("hamburger", "panda", "koala", "pizza")
MOST_LISTED = 20
MOST_BYTES = 1 << 28  # of a csv file: some five million images


@dataclass(frozen=True)
class _Row:
    line: int
    fields: list[str]


def load_cpen455(request: SplitRequest) -> ImageSet:
    """Load one split of the cpen455 layout.

    Raises:
        DataError: a csv file is missing, or has lines that cannot be used (all are listed).
        BadImagesError: image files that cannot be used.
    """
    root = request.directory
    held_out = not os.path.lexists(root / "validation.csv")
    source = "train" if held_out and request.split == "validation" else request.split
    listing = read_listing(root / f"{source}.csv", missing_ok=request.config.skip_bad)
    if held_out and source == "train":
        part = derive_split(listing.labels, request.split, ("validation",), request.config, listing.origin)
        listing = listing.select(part.indices, part.origin)
    return listing.read(request)


def read_listing(path: Path, *, missing_ok: bool = False) -> Listing:
    """Read one csv file.

    Args:
        path: the csv file; the image paths in it are relative to its directory.
        missing_ok: leave it to the reading of the images to report those that do not exist.

    Raises:
        DataError: the file is missing or no csv, or has lines that cannot be used: all of them, with their numbers.
    """
    paths: list[Path] = []
    labels: list[int] = []
    problems: list[str] = []
    first_line: dict[Path, int] = {}
    for row in _rows(path):
        parsed = _parse(row.fields, path.parent, missing_ok)
        if isinstance(parsed, str):
            problems.append(f"  line {row.line}: {parsed}")
        elif parsed[0] in first_line:
            problems.append(f"  line {row.line}: {row.fields[0]} is in line {first_line[parsed[0]]} already")
        else:
            first_line[parsed[0]] = row.line
            paths.append(parsed[0])
            labels.append(parsed[1])
    if problems:
        more = [f"  ... and {len(problems) - MOST_LISTED} more"] if len(problems) > MOST_LISTED else []
        noun = plural(len(problems), "line")
        shown = "\n".join(problems[:MOST_LISTED] + more)
        raise DataError(f"{noun} of {path} cannot be used; correct the file or check `data_dir`:\n{shown}")
    if not paths:
        raise DataError(f"{path} lists no images; it needs lines of the form path,label")
    return Listing(tuple(paths), torch.tensor(labels), CLASSES, path.name)


def _rows(path: Path) -> list[_Row]:
    """The lines of the file with trimmed fields, without blank ones and the header."""
    try:
        reader = csv.reader(io.StringIO(read_text(path, MOST_BYTES), newline=""))
        rows = [_Row(reader.line_num, [field.strip() for field in fields]) for fields in reader]
    except MissingFileError:
        raise DataError(f"there is no {path}; check `data_dir`") from None
    except UnreadableFileError as error:
        raise DataError(f"{path} cannot be read as a csv file in UTF-8 ({error.reason}); save it anew") from None
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a csv file ({error}); save it anew") from None
    rows = [row for row in rows if any(row.fields)]
    return rows[1:] if rows and _is_header(rows[0].fields) else rows


def _is_header(fields: list[str]) -> bool:
    return len(fields) == 2 and not is_image_name(fields[0]) and _integer(fields[1]) is None


def _parse(fields: list[str], root: Path, missing_ok: bool) -> tuple[Path, int] | str:
    """Path and label of a line, or what is wrong with it."""
    if len(fields) != 2:
        return f"{len(fields)} fields where path,label are expected"
    name, label = fields[0], _integer(fields[1])
    if not name:
        return "the path is empty"
    if label is None:
        return f"the label {fields[1]!r} is no integer"
    if label != UNLABELLED and not 0 <= label < len(CLASSES):
        return f"the label {label} is neither -1 nor one of 0 to {len(CLASSES) - 1}"
    # Windows knows both slashes and drives besides, so its rules refuse on every system what leads out on any.
    windows = PureWindowsPath(name)
    if windows.anchor or ".." in windows.parts:
        return f"{name} leads out of the data directory"
    if not missing_ok and not os.path.lexists(root / name):
        return f"{name} does not exist"
    return root / name, label


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
