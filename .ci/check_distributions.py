"""Check what is in the wheel and in the source distribution: `check_distributions.py DIRECTORY`."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

# Besides the Python files, which are compared with the checkout's.
DATA_FILES = (
    "py.typed",
    "pretrained/calibration.json",
    "pretrained/medium.safetensors",
    "pretrained/medium-crops.safetensors",
    "pretrained/small-crops.safetensors",
    "pretrained/models.json",
    "pretrained/small.safetensors",
    "pretrained/tiny.safetensors",
)


def main(directory: Path) -> None:
    (wheel,), (source,) = directory.glob("*.whl"), directory.glob("*.tar.gz")
    root = Path(__file__).resolve().parents[1]
    modules = {str(path.relative_to(root / "src")) for path in (root / "src").rglob("*.py")}
    wanted = modules | {f"cpixelcnn/{name}" for name in DATA_FILES}
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    missing = wanted - in_wheel
    assert not missing, f"{wheel.name} lacks {sorted(missing)}"
    strays = {name for name in in_wheel if not name.startswith("cpixelcnn/")}
    assert not strays, f"{wheel.name} holds {sorted(strays)}"
    with tarfile.open(source) as archive:
        in_source = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "mkdocs.yml", "docs/index.md", "tests/conftest.py"):
        assert name in in_source, f"{source.name} lacks {name}"
    missing = {f"src/{name}" for name in wanted} - in_source
    assert not missing, f"{source.name} lacks {sorted(missing)}"
    print(f"{wheel.name}: {len(in_wheel)} files, {source.name}: {len(in_source)} files")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
