"""Writing generated images to a folder, a few at a time, so that a command that was stopped goes on where it was.

The manifest is written first and lists all images that there will be, each with its class and seed. While they are
drawn each is a PNG file, written atomically: an image is drawn once its file is there. An archive is made of them at
the end, if one was asked for. A process that is killed anywhere leaves a folder from which the same command continues,
to the same files as one that was never killed; and a command that asks for more of the same images adds them.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpixelcnn.datasets.image_files import MANIFEST
from cpixelcnn.errors import ConfigError, DataError
from cpixelcnn.sampling.folder.archive import ARRAYS, to_pixels, write_arrays
from cpixelcnn.sampling.folder.manifest import Manifest, Origin, read_manifest
from cpixelcnn.sampling.folder.reader import drawn_images, is_packed, read_listed, require_all
from cpixelcnn.sampling.plan import SamplePlan
from cpixelcnn.storage import flush_to_disk, write_json, write_png

# What a killed process leaves of a file that it was writing (see `atomic_path`): its name, shortened, and some letters.
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp", re.DOTALL)
_SHORTENED = 40


class SampleStore:
    """A folder that fills with the images of a plan; made by `open`.

    Attributes:
        folder: where the images lie.
        plan: what they are.
        manifest: what the folder says of them.
    """

    def __init__(self, folder: Path, plan: SamplePlan, origin: Origin, format: str) -> None:
        self.folder, self.plan = folder, plan
        self.manifest = Manifest.of_plan(plan, origin, format)
        self._release: weakref.finalize[Any, SampleStore] | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        plan: SamplePlan,
        origin: Origin,
        *,
        format: str = "png",
        overwrite: bool = False,
        is_main: bool = True,
    ) -> Self:
        """Prepare a folder for the images of a plan, or go on with those that it holds already.

        Of several processes that draw together the main one prepares the folder and keeps other commands out of it; the
        rest call this once it is done, and only look at what it prepared.

        Args:
            folder: where; made unless it is there.
            plan: which images the folder shall hold.
            origin: what draws them.
            format: "png", a file for each image, or "npz", one archive.
            overwrite: start anew, in place of whatever samples the folder holds.
            is_main: whether this process prepares the folder.

        Raises:
            ConfigError: an unknown format; or the folder cannot be written to, is in use, holds something else than
                samples, or (without `overwrite`) other samples; nothing in it was changed.
            DataError: the folder has a manifest that cannot be read, or the disk is full.
        """
        store = cls(folder, plan, origin, format)
        if is_main:
            try:
                store._hold()
                store._prepare(overwrite)
            except BaseException:
                store.close()
                raise
            return store
        found = read_manifest(folder)
        if found is None or store.manifest.differences(found) or found.entries != store.manifest.entries:
            raise ConfigError(f"{folder} was prepared for other samples; start every process with the same options")
        store.manifest = store.manifest.is_finished(found.finished)
        return store

    def missing(self) -> list[int]:
        """Indices of the images that are not drawn yet, ascending."""
        drawn = drawn_images(self.folder, self.manifest)
        return [i for i in range(len(self.plan)) if i not in drawn]

    def write(self, indices: Sequence[int], images: Tensor) -> None:
        """Write some of the images, uint8 (n, C, H, W); several processes may do so at a time, each with its own.

        Raises:
            DataError: images of another type or shape than the plan's; or the disk is full or gone, and what was
                written before is safe.
        """
        expected = (len(indices), *self.plan.image_shape)
        if images.dtype != torch.uint8 or tuple(images.shape) != expected:
            raise DataError(f"images must be uint8 {expected}, but are {images.dtype} {tuple(images.shape)}")
        with self._writing():
            for index, pixels in zip(indices, to_pixels(images), strict=True):
                path = self.folder / self.manifest.entries[index].file
                write_png(path, pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

    def write_picture(self, name: str, pixels: NDArray[np.uint8]) -> Path:
        """Write a picture of the images, uint8 (H, W, 3), as `GRID` or `STRIP`; returns its path.

        Raises:
            DataError: the disk is full or gone; the images are safe.
        """
        with self._writing():
            write_png(self.folder / name, pixels)
        return self.folder / name

    def images(self, indices: Sequence[int] | None = None) -> Tensor:
        """All images, or some, uint8 (N, C, H, W), read back from their files.

        Raises:
            DataError: images are missing or damaged.
        """
        return read_listed(self.folder, self.manifest, indices)

    def finish(self) -> None:
        """Declare the folder complete, and let other commands have it. For the main process, after all writing.

        To finish twice is no mistake.

        Raises:
            DataError: images are missing or damaged, or the disk is full or gone.
        """
        require_all(self.folder, self.manifest)
        if not self.manifest.finished:
            images = self.images() if self.manifest.format == "npz" else None
            with self._writing():
                if images is not None:
                    write_arrays(self.folder / ARRAYS, images, self.plan.labels, self.plan.seeds)
                self._write_manifest(finished=True)
        if is_packed(self.manifest):
            self._remove(entry.file for entry in self.manifest.entries)
        self.close()

    def close(self) -> None:
        """Let other commands have the folder, finished or not; the end of the store or of its process does so too."""
        if self._release is not None:
            self._release()

    def _hold(self) -> None:
        """Make the folder if need be, see whether it can be written to, and keep other main processes out."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(prefix=f".{MANIFEST}.", suffix=".tmp", dir=self.folder):
                pass
            descriptor = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise ConfigError(f"{self.folder} cannot be written to ({error.strerror}); choose another `out`") from None
        self._release = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another cpixelcnn sample is writing to {self.folder}; wait for it, or choose another `out`"
            ) from None
        except OSError:
            pass  # some network file systems know no locks

    def _prepare(self, overwrite: bool) -> None:
        """Go on with what the folder holds of the plan, else start it anew; refuse what is neither."""
        found = read_manifest(self.folder)
        if found is None:
            foreign = sorted(name for name in os.listdir(self.folder) if not name.startswith("."))
            if foreign:
                raise ConfigError(
                    f"{self.folder} holds {foreign[0]}, and no samples; choose another `out`, or an empty folder"
                )
            self._remove(self._left_over(self.manifest.files))
            self._write_manifest()
        elif overwrite:
            files = self.manifest.files | found.files
            self._remove([*files.intersection(os.listdir(self.folder)), *self._left_over(files)])
            self._write_manifest()
        else:
            self._go_on(found)

    def _go_on(self, found: Manifest) -> None:
        """Take over a folder that holds the images of the plan, or the first of them."""
        self._require_same(found)
        self._remove(self._left_over(self.manifest.files))
        if found.entries == self.manifest.entries:
            self.manifest = self.manifest.is_finished(found.finished)
            if found.finished and self.missing():  # somebody deleted some
                self._write_manifest()
            return
        if is_packed(found):  # back to files; the manifest calls for the archive until it is replaced
            self.write(range(len(found.entries)), read_listed(self.folder, found))
        self._write_manifest()

    def _require_same(self, found: Manifest) -> None:
        differences = self.manifest.differences(found)
        n, wanted = len(found.entries), len(self.plan)
        if not differences and n > wanted and found.entries[:wanted] == self.manifest.entries:
            raise ConfigError(
                f"{self.folder} holds {n} of these images, more than the {wanted} that were asked for; "
                "choose another `out`, or pass `overwrite`"
            )
        if found.entries != self.manifest.entries[:n]:
            differences.append("images")
        if differences:
            raise ConfigError(
                f"{self.folder} holds other samples (they differ in {', '.join(differences)}); "
                "pass `overwrite` to replace them, or choose another `out`"
            )

    def _write_manifest(self, *, finished: bool = False) -> None:
        manifest = self.manifest.is_finished(finished)
        with self._writing():
            write_json(self.folder / MANIFEST, manifest.to_json())
            flush_to_disk(self.folder)  # before anything goes that it does not call for
        self.manifest = manifest

    def _left_over(self, names: Iterable[str]) -> list[str]:
        """What killed processes left of files of these names, and of the manifest."""
        shortened = {name[:_SHORTENED] for name in (MANIFEST, *names)}
        matches = filter(None, map(_TEMPORARY.fullmatch, os.listdir(self.folder)))
        return [match[0] for match in matches if match[1] in shortened]

    def _remove(self, names: Iterable[str]) -> None:
        try:
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            flush_to_disk(self.folder)  # what is gone must not come back under a new manifest
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be replaced ({error.strerror}); choose another `out`") from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.folder} cannot be written to ({error.strerror or error}); what was drawn is safe: make room, "
                "then run the same cpixelcnn sample command again"
            ) from None
