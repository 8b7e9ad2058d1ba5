"""JSON of foreign origin as the fields of a dataclass: each of the type that the dataclass declares."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

_LARGEST = 2**128  # of an integer: seeds may have more than 64 bits, and all fit into a float


class FieldError(ValueError):
    """An object of JSON that does not suit the dataclass; the message names the field."""


class UnknownFieldsError(FieldError):
    """An object of JSON with fields that the dataclass does not have; the message is their names."""


def fields_from_json(kind: type, document: Any, *, complete: bool = True) -> dict[str, Any]:
    """The fields of an object of JSON for the dataclass `kind`, with lists as tuples.

    An integer is no boolean and has at most 128 bits; a number is finite, and may be an integer.

    Args:
        kind: a dataclass whose fields are bool, int, float, str, one of these or None, or a tuple of one of these.
        document: a value of JSON.
        complete: whether fields without a default must be there.

    Raises:
        FieldError: it is no object, has a field that the dataclass has not, lacks one, or has one of another type.
    """
    if not isinstance(document, Mapping):
        raise FieldError(f"{brief(document)} stands where fields with values are needed")
    declared = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(set(document) - set(fields)):
        raise UnknownFieldsError(brief_text(", ".join(unknown)))
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING} if complete else set()
    if missing := sorted(required - set(document)):
        raise FieldError(f"missing fields ({', '.join(missing)})")
    for name, value in document.items():
        if not conforms(value, declared[name]):
            raise FieldError(f"the field {name} cannot be {brief(value)}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}


def conforms(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of a type: see `fields_from_json`.

    >>> conforms(1, float), conforms(True, int), conforms(["a", 1], tuple[str, ...]), conforms(None, int | None)
    (True, False, False, True)
    """
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        return any(conforms(value, each) for each in typing.get_args(kind))
    if origin is tuple:
        element = typing.get_args(kind)[0]
        return isinstance(value, list | tuple) and all(conforms(each, element) for each in value)
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if kind is int:
        return type(value) is int and abs(value) <= _LARGEST
    return type(value) is kind


def brief(value: Any) -> str:
    """A value for a message: no longer than half a line."""
    return brief_text(repr(value))


def brief_text(text: str) -> str:
    """The same of text, without quotation marks."""
    return text if len(text) <= 60 else f"{text[:57]}..."
