"""JSON as the fields of a dataclass: every field of the type that the dataclass declares."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cpixelcnn.typed_json import FieldError, UnknownFieldsError, fields_from_json


@dataclass(frozen=True)
class Record:
    count: int
    mean: float
    name: str | None = None
    on: bool = False
    classes: tuple[str, ...] = ()


def test_fields_of_the_right_types() -> None:
    document = {"count": 3, "mean": 2, "name": "x", "on": True, "classes": ["a", "b"]}
    assert Record(**fields_from_json(Record, document)) == Record(3, 2, "x", True, ("a", "b"))
    assert Record(**fields_from_json(Record, {"count": 2**80, "mean": -0.5, "name": None})) == Record(2**80, -0.5)
    assert fields_from_json(Record, {"on": True}, complete=False) == {"on": True}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", True),
        ("count", 1.0),
        ("count", "1"),
        ("count", 2**200),
        ("mean", None),
        ("mean", float("nan")),
        ("mean", float("inf")),
        ("mean", 10**400),
        ("mean", False),
        ("name", 3),
        ("on", 1),
        ("classes", "ab"),
        ("classes", [1, 2]),
        ("classes", [["a"]]),
        ("classes", {"a": "b"}),
    ],
)
def test_fields_of_another_type(field: str, value: object) -> None:
    with pytest.raises(FieldError, match=f"the field {field} cannot be"):
        fields_from_json(Record, {"count": 1, "mean": 1.0, field: value})


def test_missing_and_unknown_fields() -> None:
    with pytest.raises(FieldError, match=r"missing fields \(count, mean\)"):
        fields_from_json(Record, {})
    with pytest.raises(UnknownFieldsError, match=r"^other, that$"):
        fields_from_json(Record, {"that": 1, "other": 2})
    for document in (None, [], "text", 3):
        with pytest.raises(FieldError, match="stands where fields"):
            fields_from_json(Record, document)


def test_a_message_shows_little_of_a_long_value() -> None:
    with pytest.raises(FieldError) as caught:
        fields_from_json(Record, {"count": "x" * 100_000})
    assert len(str(caught.value)) < 200
