"""What tests lack: skipped on a machine of one's own, a failure in CI, where an oracle must not vanish unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

Import = Callable[[str], ModuleType]


def test_without_it_the_test_is_skipped(optional_module: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^needs no_such_oracle \(No module"):
        optional_module("no_such_oracle")


def test_in_ci_it_fails(optional_module: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"^CI needs no_such_oracle"):
        optional_module("no_such_oracle")


def test_what_is_there_is_imported(optional_module: Import) -> None:
    assert optional_module("json.decoder").__name__ == "json.decoder"
