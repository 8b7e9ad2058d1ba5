"""Print the lowest version of each package that pyproject.toml allows, as constraints for pip.

`lowest_versions.py EXTRA...`: those of the package itself and of these extras. A direct requirement without a lower
bound is an error: nobody could say what is promised of it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)\s*(?:\[(?P<extras>[^\]]*)\])?\s*(?P<bounds>[^;]*)")


def lowest_versions(project: dict[str, object], extras: Iterable[str] = ()) -> Iterator[str]:
    """`name==version` for each requirement of a `[project]` table, those of its own extras included.

    Raises:
        ValueError: a requirement has no lower bound.
    """
    optional: dict[str, list[str]] = project.get("optional-dependencies", {})  # type: ignore[assignment]
    requirements: list[str] = [*project["dependencies"]]  # type: ignore[misc]
    for extra in extras:
        requirements += optional[extra]
    for requirement in requirements:
        found = REQUIREMENT.match(requirement)
        if found is None:
            raise ValueError(f"{requirement!r} is no requirement that this script reads")
        if found["name"] == project["name"]:
            yield from lowest_versions({**project, "dependencies": []}, re.split(r"\s*,\s*", found["extras"] or ""))
            continue
        bound = re.search(r"[>=~]=\s*([\w.]+)", found["bounds"])
        if bound is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        yield f"{found['name']}=={bound[1]}"


if __name__ == "__main__":
    with PYPROJECT.open("rb") as file:
        print(*lowest_versions(tomllib.load(file)["project"], sys.argv[1:]), sep="\n")
