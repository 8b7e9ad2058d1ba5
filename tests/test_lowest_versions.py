"""The script that tells CI's second environment which versions to install."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / ".ci" / "lowest_versions.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the source distribution has no CI")


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("lowest_versions", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_requirement_gives_its_lower_bound(script: Any) -> None:
    project = {
        "name": "ours",
        "dependencies": ["one>=1.2", "two >=3.0.1, <4", "three[fast] ~= 2.0; python_version > '3'", "four==5"],
        "optional-dependencies": {"a": ["five-six>=6.0.post1"], "b": ["ours[a]", "seven>=7"], "c": ["eight>=8"]},
    }
    assert [*script.lowest_versions(project)] == ["one==1.2", "two==3.0.1", "three==2.0", "four==5"]
    assert [*script.lowest_versions(project, ["b"])][4:] == ["five-six==6.0.post1", "seven==7"]


@pytest.mark.parametrize("requirement", ["one", "one<3", "one!=2"])
def test_without_a_lower_bound_it_refuses(script: Any, requirement: str) -> None:
    with pytest.raises(ValueError, match="no lower bound"):
        list(script.lowest_versions({"name": "ours", "dependencies": [requirement]}))


def test_all_of_ours_are_versions_that_pip_accepts(script: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(line) for line in [*project["dependencies"], *extras["test"]]]
    found = [Requirement(line) for line in script.lowest_versions(project, ["test"])]
    assert [each.name for each in found] == [each.name for each in wanted]
    for pinned, allowed in zip(found, wanted, strict=True):
        (exact,) = pinned.specifier
        assert allowed.specifier.contains(exact.version)
    assert len(list(script.lowest_versions(project, extras))) > len(found)
