"""What was learned about the weights of a model, stored beside them in a JSON file: a temperature, a threshold.

The file has an entry for each weight file of its directory, by the digest of its content: none ever applies to other
weights.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cpixelcnn.errors import CheckpointError
from cpixelcnn.foreign_files import UnreadableFileError, read_json_object
from cpixelcnn.storage import file_digest, write_json
from cpixelcnn.typed_json import fields_from_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_VERSION = 1

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class SideFile(Generic[T]):
    """A kind of file beside weights.

    Attributes:
        name: of the file.
        what: what it holds, such as "calibration"; with an s, the key of the entries.
        kind: dataclass of an entry, which raises ValueError for values that cannot be.
        remedy: how to make it again, for messages.
    """

    name: str
    what: str
    kind: type[T]
    remedy: str

    def save(self, weights: Path, entry: T) -> Path:
        """Store an entry beside the weights that it was made for; returns the path of the file.

        Raises:
            OSError: the file cannot be written.
            CheckpointError: there is one already, which is damaged or of another version.
        """
        path = weights.parent / self.name
        stored = self._read(path) if os.path.lexists(path) else {}
        write_json(path, {"version": _VERSION, f"{self.what}s": {**stored, file_digest(weights): asdict(entry)}})
        return path

    def find(self, weights: Path) -> T | None:
        """The entry that was stored for a weight file, if there is one.

        Raises:
            CheckpointError: the file is damaged or of another version.
        """
        path = weights.parent / self.name
        if not os.path.lexists(path):
            return None
        stored = self._read(path).get(file_digest(weights))
        if stored is None:
            return None
        try:
            return self.kind(**fields_from_json(self.kind, stored))
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged ({error}); remove it, and {self.remedy}") from None

    def _read(self, path: Path) -> dict[str, Any]:
        """The entries by the digests of weight files."""
        try:
            document = read_json_object(path)
        except UnreadableFileError as error:
            raise CheckpointError(f"{error}; remove it, and {self.remedy}") from None
        stored = document.get(f"{self.what}s")
        if document.get("version") != _VERSION or not isinstance(stored, dict):
            raise CheckpointError(f"{path} is of another version than this program's; remove it, and {self.remedy}")
        return stored
