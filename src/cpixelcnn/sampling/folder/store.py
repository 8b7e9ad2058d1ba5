"""Writing generated images to a folder, a few at a time, so that a command that was stopped goes on where it was.

The manifest is written first and lists all images that there will be, each with its class and seed; an image is drawn
once its file is there. Every file is written atomically, and in an order such that a process that is killed anywhere
leaves a folder from which the same request continues, to the same files as one that was never killed.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from cpixelcnn.datasets.image_files import GRID, MANIFEST
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.sampling.folder.archive import (
    ARRAYS,
    is_part,
    part_paths,
    read_parts,
    to_pixels,
    write_arrays,
    write_part,
)
from cpixelcnn.sampling.folder.manifest import listed_files, read_manifest
from cpixelcnn.sampling.folder.reader import drawn_images, read_listed, require_all
from cpixelcnn.sampling.folder.request import SampleRequest
from cpixelcnn.storage import flush_to_disk, write_json, write_png

__all__ = ["SampleRequest", "SampleStore"]

# What a killed process leaves of a file that it was writing (see `atomic_path`): its name, shortened, and some letters.
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp", re.DOTALL)
_SHORTENED = 40


class SampleStore:
    """A folder that fills with the images of a request; made by `open`.

    Attributes:
        folder: where the images lie.
        request: what they are.
    """

    def __init__(self, folder: Path, request: SampleRequest) -> None:
        self.folder, self.request = folder, request
        self._manifest = request.manifest(finished=False)
        self._release: weakref.finalize[Any, SampleStore] | None = None

    @classmethod
    def open(cls, folder: Path, request: SampleRequest, *, overwrite: bool = False, leader: bool = True) -> Self:
        """Prepare a folder for a request, or go on with what it holds of it.

        Of several processes that draw together one is the leader, which prepares the folder and keeps other commands
        out of it; the rest call this once it is done, and only look at what it prepared.

        Args:
            folder: where; made unless it is there.
            request: what the folder shall hold.
            overwrite: start anew, in place of whatever samples the folder holds.
            leader: whether this process prepares the folder.

        Raises:
            ConfigError: the folder cannot be written to, is in use, or holds other samples or other people's files
                (without `overwrite`); nothing in it was changed.
            DataError: the folder has a manifest that cannot be read.
        """
        store = cls(folder, request)
        if leader:
            try:
                store._hold()
                store._prepare(overwrite)
            except BaseException:
                store.close()
                raise
        elif (found := read_manifest(folder)) is None or store._differences(found):
            raise ConfigError(f"{folder} was prepared for other samples; start every process with the same options")
        return store

    @property
    def grid(self) -> Path:
        """Where a picture of all images belongs."""
        return self.folder / GRID

    def missing(self) -> list[int]:
        """Indices of the images that are not drawn yet, ascending.

        Raises:
            DataError: a part of an archive is damaged.
        """
        drawn = drawn_images(self.folder, self._manifest)
        return [i for i in range(len(self.request)) if i not in drawn]

    def write(self, indices: Sequence[int], images: Tensor) -> None:
        """Write some of the images, uint8 (n, C, H, W); several processes may do so at a time, each with its own.

        Raises:
            DataError: the disk is full or gone; what was written before is safe.
        """
        assert images.dtype == torch.uint8, "images must be uint8"
        assert tuple(images.shape) == (len(indices), *self.request.image_shape), "images of the requested shape"
        assert all(0 <= index < len(self.request) for index in indices), "images of the request"
        with self._writing():
            if self.request.format == "npz" and len(indices):
                write_part(self.folder, indices, images)
            elif self.request.format == "png":
                for index, pixels in zip(indices, to_pixels(images), strict=True):
                    path = self.folder / self._manifest["images"][index]["file"]
                    write_png(path, pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

    def images(self) -> Tensor:
        """All images, uint8 (N, C, H, W), read back from their files.

        Raises:
            DataError: images are missing or damaged.
        """
        return read_listed(self.folder, self._manifest)

    def finish(self) -> None:
        """Declare the folder complete, and let other commands have it. For the leader, after all writing.

        Parts are put together to an archive. To finish twice is no mistake.

        Raises:
            DataError: images are missing or damaged, or the disk is full or gone.
        """
        require_all(self.folder, self._manifest)
        with self._writing():
            if self.request.format == "npz" and not (self.folder / ARRAYS).exists():
                channels, height, width = self.request.image_shape
                pixels = read_parts(self.folder, (len(self.request), height, width, channels))
                write_arrays(self.folder / ARRAYS, pixels, self.request.labels, self.request.seeds)
            found = read_manifest(self.folder)
            if found is None or not found["finished"]:
                write_json(self.folder / MANIFEST, self.request.manifest(finished=True))
            flush_to_disk(self.folder)  # the parts go only when what replaces them is on the disk
            for part in part_paths(self.folder):
                part.unlink()
        self.close()

    def close(self) -> None:
        """Let other commands have the folder, finished or not; the end of the store or of its process does so too."""
        if self._release is not None:
            self._release()

    def _hold(self) -> None:
        """Make the folder if need be, see whether it can be written to, and keep other leaders out."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(prefix=f".{MANIFEST}.", suffix=".tmp", dir=self.folder):
                pass
            descriptor = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise ConfigError(f"{self.folder} cannot be written to ({error.strerror}); choose another --out") from None
        self._release = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another cpixelcnn sample is writing to {self.folder}; wait for it, or choose another --out"
            ) from None
        except OSError:
            pass  # some network file systems know no locks

    def _prepare(self, overwrite: bool) -> None:
        """Go on with what the folder holds of the request, else start it anew; refuse what is neither."""
        found = read_manifest(self.folder)
        differences = [] if found is None else self._differences(found)
        mine = listed_files(self._manifest)
        if found is not None and not overwrite:
            if differences:
                raise ConfigError(
                    f"{self.folder} holds other samples (they differ in {', '.join(differences)}); "
                    "pass --overwrite to replace them, or choose another --out"
                )
            self._remove(self._left_over(mine))
            if found["finished"] and self.missing():  # somebody deleted some
                write_json(self.folder / MANIFEST, self._manifest)
            return
        theirs = set() if found is None else listed_files(found)
        files = mine | theirs
        in_the_way = [name for name in sorted(os.listdir(self.folder)) if name in files or is_part(name)]
        if in_the_way and not overwrite:
            raise ConfigError(
                f"{self.folder} holds {in_the_way[0]} already, and no manifest that tells what made it; "
                "pass --overwrite to replace it, or choose another --out"
            )
        self._remove([*in_the_way, *self._left_over(files)])
        write_json(self.folder / MANIFEST, self._manifest)

    def _differences(self, found: dict[str, Any]) -> list[str]:
        """In what another manifest differs from the request's, for people; the model is known by its digest."""
        names = [name for name in self._manifest if name not in ("model", "finished")]
        names += sorted(set(found) - set(self._manifest))
        return [name.replace("_", " ") for name in names if found.get(name) != self._manifest.get(name)]

    def _left_over(self, names: set[str]) -> list[str]:
        """Files that killed processes left of the files of these names, of parts, and of the manifest."""
        shortened = {name[:_SHORTENED] for name in (MANIFEST, *names)}
        matches = filter(None, map(_TEMPORARY.fullmatch, os.listdir(self.folder)))
        return [match[0] for match in matches if match[1] in shortened or is_part(match[1])]

    def _remove(self, names: Sequence[str]) -> None:
        try:
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            flush_to_disk(self.folder)  # what is gone must not come back under a new manifest
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be replaced ({error.strerror}); choose another --out") from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.folder} cannot be written to ({error.strerror or error}); what was drawn is safe: make room, "
                "then run the same cpixelcnn sample command again"
            ) from None
