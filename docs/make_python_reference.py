"""Write the Python reference: a section for every public name, from its docstring.

python docs/make_python_reference.py
"""

from __future__ import annotations

from pathlib import Path

import cpixelcnn

PAGE = Path(__file__).parent / "reference" / "python.md"

INTRODUCTION = """# Python interface

Everything here can be imported from `cpixelcnn` itself, as in `cpixelcnn.load()`. The names are loaded when they are
first used, so that `import cpixelcnn` does not import torch.
"""

# The first part of the module that a name lives in decides its section.
SECTIONS = {
    "config": "Configuration",
    "presets": "Configuration",
    "datasets": "Images",
    "model": "Model",
    "runs": "Models on disk",
    "training": "Training",
    "evaluation": "Evaluation",
    "sampling": "Sampling",
    "fid": "Distances between sets of images",
    "errors": "Errors",
}


def reference() -> str:
    """The text of the page."""
    sections: dict[str, list[str]] = {title: [] for title in SECTIONS.values()}
    for name, home in cpixelcnn._HOMES.items():
        sections[SECTIONS[home.split(".")[0]]].append(f"cpixelcnn.{home}.{name}")
    parts = [INTRODUCTION]
    for title, names in sections.items():
        if names:
            parts.append(f"## {title}\n\n" + "\n\n".join(f"::: {name}" for name in names) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
