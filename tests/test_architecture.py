"""The rules that keep the package in layers, checked in its source."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import cpixelcnn

ROOT = Path(cpixelcnn.__file__).parent
MODULES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
TREES = {name.removesuffix(".__init__"): ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

# What each part may import of the others. All may import the modules that lie directly in the package.
ALLOWED: dict[str, set[str]] = {
    "model": set(),
    "datasets": set(),
    "runs": {"datasets", "model"},
    "plots": {"datasets", "model", "runs"},
    "evaluation": {"datasets", "model", "runs"},
    "fid": {"datasets", "model", "runs"},
    "sampling": {"datasets", "model", "runs"},
    "training": {"datasets", "model", "runs", "evaluation", "sampling", "plots"},
    "checks": {"datasets", "model", "runs", "evaluation", "sampling", "training"},
    "cli": {"datasets", "model", "runs", "evaluation", "fid", "sampling", "training", "plots", "checks"},
}
FREE_OF_TORCH = ("__init__", "__main__", "config", "errors", "presets", "progress", "cli")


def part(module: str) -> str:
    """The part of the package that a module belongs to: "model" for cpixelcnn.model.network, "config" for itself."""
    return module.split(".")[1] if "." in module else "__init__"


def is_for_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(tree: ast.AST, *, within_functions: bool = True) -> set[str]:
    """Names of the modules that are imported at run time, not those for type checking alone."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif not is_for_type_checking(node) and (
            within_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ):
            found |= imports(node, within_functions=within_functions)
    return found


def test_the_source_was_found() -> None:
    assert {"cpixelcnn", "cpixelcnn.training.loop", "cpixelcnn.cli.app", "cpixelcnn.model.network"} <= set(TREES)
    assert {part(name) for name in TREES if "." in name.removeprefix("cpixelcnn.")} == set(ALLOWED)


@pytest.mark.parametrize("name", sorted(TREES))
def test_dependencies_run_one_way(name: str) -> None:
    mine = part(name)
    used = {part(module) for module in imports(TREES[name]) if module.startswith("cpixelcnn.")} & set(ALLOWED)
    allowed = ALLOWED.get(mine, set()) | {mine}
    if name == "cpixelcnn.__main__":
        allowed |= {"cli"}
    assert used <= allowed, f"{name} imports {used - allowed}"


@pytest.mark.parametrize("name", sorted(name for name in TREES if part(name) != "cli"))
def test_the_library_neither_prints_nor_knows_the_terminal(name: str) -> None:
    assert not {module.split(".")[0] for module in imports(TREES[name])} & {"typer", "rich", "click"}
    calls = [node.func for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id in ("print", "input")]
    names = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert not names & {"sys.stdout", "sys.stderr", "sys.exit", "sys.argv"}


@pytest.mark.parametrize("name", sorted(TREES))
def test_nothing_is_left_to_workers(name: str) -> None:
    """Number 40: images are read by the process that needs them, so that no worker can die or hang unnoticed."""
    starters = ("multiprocessing", "concurrent", "subprocess", "torch.multiprocessing", "torch.utils.data")
    allowed = {"cpixelcnn.runs.environment"}  # asks git for the commit
    used = {module for module in imports(TREES[name]) if module.startswith(starters)}
    assert not used or name in allowed


@pytest.mark.parametrize("name", sorted(name for name in TREES if part(name) in FREE_OF_TORCH))
def test_what_help_needs_does_not_import_torch(name: str) -> None:
    """At the top of these modules; their functions may."""
    top = {module.split(".")[0] for module in imports(TREES[name], within_functions=False)}
    heavy = {"torch", "torchvision", "scipy", "safetensors", "numpy", "PIL"}
    assert not top & heavy


def test_importing_the_package_does_not_import_torch() -> None:
    script = "import cpixelcnn, sys; dir(cpixelcnn); assert 'torch' not in sys.modules; cpixelcnn.ModelConfig; " + (
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_resolves() -> None:
    assert set(cpixelcnn.__all__) == set(cpixelcnn._HOMES) and len(cpixelcnn.__all__) == len(cpixelcnn._HOMES)
    for name in cpixelcnn.__all__:
        assert getattr(cpixelcnn, name) is not None
        assert name in dir(cpixelcnn)
    assert set(cpixelcnn._HOMES) == set(cpixelcnn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = cpixelcnn.nonsense


def test_public_names_are_the_same_for_type_checkers() -> None:
    checked = next(node for node in TREES["cpixelcnn"].body if is_for_type_checking(node))
    homes = {
        alias.name: node.module
        for node in ast.walk(checked)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert homes == {name: f"cpixelcnn.{home}" for name, home in cpixelcnn._HOMES.items()}


@pytest.mark.parametrize("name", sorted(TREES))
def test_every_module_says_what_it_is_for(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__ or MODULES.get(f"{name}.__init__", Path()).name == "__init__.py"
    assert len(Path(str(module.__file__)).read_text(encoding="utf-8").splitlines()) <= 400
