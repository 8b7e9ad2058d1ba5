"""Every snippet of the documentation is tried: Python is run, commands are parsed by the commands themselves.

The Python blocks of a page run one after another in one namespace, in a directory that holds a small finished run
`runs/first`. The names `cpixelcnn`, `model`, `images` and `labels` exist from the start. A block is only compiled where
the line before it is `<!-- not run: REASON -->`. A line `<!-- run -->` before a block of commands has them run as well.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main

import cpixelcnn
from cpixelcnn.cli.app import app, main
from cpixelcnn.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cpixelcnn.datasets import embedded

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "examples/*.md") for path in ROOT.glob(pattern) if path.is_file()
)
BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>python|bash)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Snippet:
    """A block of code in a page, and the mark in the line before it."""

    page: Path
    line: int
    language: str
    mark: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(page: Path, language: str) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(page, text.count("\n", 0, found.start("code")) + 1, language, found["mark"] or "", found["code"])
        for found in BLOCK.finditer(text)
        if found["language"] == language
    ]


def commands(snippet: Snippet) -> Iterator[list[str]]:
    """The arguments of every `cpixelcnn` in a block of shell commands."""
    for line in snippet.code.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|\|\|?|;|>", line):
            words = shlex.split(command, comments=True, posix=True) if command.count("'") % 2 == 0 else []
            if "cpixelcnn" in words:
                yield words[words.index("cpixelcnn") + 1 :]


@pytest.fixture(scope="module", autouse=True)
def small_splits() -> Iterator[None]:
    """Fewer embedded images than the pages speak of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "VALIDATION_SIZE", 20)
        patch.setattr(embedded, "TEST_SIZE", 40)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run, which is copied for each page."""
    run = tmp_path_factory.mktemp("finished") / "first"
    data = DataConfig(image_size=16, train_size=16)
    train_set, validation_set = (cpixelcnn.load_split(data, split) for split in ("train", "validation"))
    sizes = ModelConfig(
        nr_filters=4,
        nr_logistic_mix=2,
        image_height=16,
        image_width=16,
        classes=train_set.classes,
        class_counts=train_set.class_counts,
    )
    config = RunConfig(sizes, data, TrainConfig(epochs=1, eval_images=8, precision="float32"))
    cpixelcnn.train(config, train_set, validation_set, run, device=torch.device("cpu"))
    return run


@pytest.fixture
def workplace(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A directory with a small run and a few images, and the names that the snippets may use."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "runs/first", symlinks=True)
    model = cpixelcnn.load("runs/first")
    validation_set = cpixelcnn.load_split(DataConfig(image_size=16, train_size=16), "validation")
    images, labels = validation_set.images[:4], validation_set.labels[:4]
    return {"cpixelcnn": cpixelcnn, "model": model, "images": images, "labels": labels}


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page, "python")], ids=lambda page: page.name)
def test_python_runs(page: Path, workplace: dict[str, Any]) -> None:
    for snippet in snippets(page, "python"):
        code = compile("\n" * (snippet.line - 1) + snippet.code, str(snippet), "exec", dont_inherit=True)
        if not snippet.mark.startswith("not run"):
            exec(code, workplace)


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page, "bash")], ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    for snippet in snippets(page, "bash"):
        for arguments in commands(snippet):
            if not arguments or arguments[0].startswith("-") or arguments[0] == "COMMAND":
                continue
            assert arguments[0] in group.commands, f"{snippet}: there is no command {arguments[0]}"
            command = group.commands[arguments[0]]
            context = command.context_class(command, info_name=arguments[0])
            if "--help" not in arguments:
                command.make_parser(context).parse_args(list(arguments[1:]))


RUN = [snippet for page in PAGES for snippet in snippets(page, "bash") if snippet.mark == "run"]


@pytest.mark.parametrize("snippet", RUN, ids=str)
def test_commands_run(snippet: Snippet, workplace: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in commands(snippet):
        monkeypatch.setattr("sys.argv", ["cpixelcnn", *arguments])
        monkeypatch.setitem(os.environ, "COLUMNS", "80")
        with pytest.raises(SystemExit) as ending:
            main()
        assert not ending.value.code, f"{snippet}: {' '.join(arguments)}"


def test_snippets_are_found() -> None:
    found = {page.name for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "getting-started.md", "model.md"} <= found
    assert len([s for page in PAGES for s in snippets(page, "python")]) >= 4
    assert len([s for page in PAGES for s in snippets(page, "bash")]) >= 25
    assert len(RUN) >= 2
