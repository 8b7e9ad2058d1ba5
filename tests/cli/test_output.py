"""Output that cannot be written, text of foreign origin, and errors in the JSON document."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.table import Table

from cpixelcnn import __version__
from cpixelcnn.cli import console
from cpixelcnn.errors import first_line

Cli = Callable[..., Any]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="a device that is always full is Linux's")


@needs_full
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a stand-in for the stream may be left for the end to close
@pytest.mark.parametrize("json", [[], ["--json"]], ids=["for people", "json"])
@pytest.mark.parametrize("command", ["classify", "bpd", "sample"])
def test_results_lost_on_a_full_disk_are_an_error(
    cli: Cli, run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, command: str, json: list[str]
) -> None:
    arguments = {
        "classify": [pictures],
        "bpd": ["--split", "train"],
        "sample": ["-k", 1, "--out", "drawn"],
    }[command]
    with FULL.open("w", encoding="utf-8") as full:
        monkeypatch.setattr(contextlib, "redirect_stdout", lambda _: _redirected(full))
        outcome = cli(command, *arguments, "--model", run, *json)
        with contextlib.suppress(OSError):
            full.close()
    assert outcome.code == 1
    assert "error: the output could not be written (No space left on device)" in outcome.err
    assert "internal" not in outcome.err


_redirected = contextlib.redirect_stdout  # the original, which the tests above replace


@needs_full
@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_even_the_version_on_a_full_disk(argument: str) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cpixelcnn", argument],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the output could not be written")
    assert done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m cpixelcnn train --help | head -n 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode in (0, 1), done.stderr) == (True, "")


HOSTILE = "a\x1b]52;c;ZXZpbA==\x07 \x9b2J \u202etxt.exe\u2069 [bold]b"


@pytest.mark.parametrize("show", [console.error, console.warn, lambda text: console.print_result(_table(text))])
def test_foreign_text_commands_no_terminal(
    show: Callable[[str], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escape sequences, as in a file's name, can write the clipboard; direction marks make a name look like another."""
    monkeypatch.setenv("COLUMNS", "100")
    show(HOSTILE)
    said = "".join(capsys.readouterr())
    assert "]52;c;" in said
    assert not set(said) & set("\x1b\x07\x9b\u202e\u2069")


def _table(text: str) -> Table:
    from rich.markup import escape

    table = Table("name")
    table.add_row(escape(text))
    return table


def test_colours_survive() -> None:
    terminal = console._Console(file=io.StringIO(), force_terminal=True, color_system="standard")
    terminal.print("good", style="red")
    assert terminal.file.getvalue() == "\x1b[31mgood\x1b[0m\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "--json"], "IMAGES"),
        (["bpd", "--json", "--modle", "x"], "no such option: --modle"),
        (["bpd", "--json", "--batch-size", "0"], "--batch-size"),
    ],
)
def test_usage_errors_are_told_in_the_document(cli: Cli, arguments: list[str], message: str) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert message in outcome.document["error"]
    assert outcome.document["exit_code"] == 2


def test_the_help_keeps_brackets(cli: Cli) -> None:
    assert "'cpixelcnn[tensorboard]'" in cli("train", "--help").out
    assert "'cpixelcnn[wandb]'" in cli("train", "--help").out


def test_completion_can_be_installed(cli: Cli) -> None:
    assert "--install-completion" in cli("--help").out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("train --preset rep", ["report", "report-first", "report-third"]),
        ("bpd --dataset cif", ["cifar10", "cifar100"]),
        ("eval --model emb", ["embedded-tiny-1"]),
        ("eval --model ti", ["tiny"]),
    ],
)
def test_names_are_completed(home: Path, typed: str, offered: list[str]) -> None:
    words = f"cpixelcnn {typed}"
    completion = {"_CPIXELCNN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    script = "import sys; sys.argv = ['cpixelcnn']; from cpixelcnn.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **completion},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == offered


def test_a_model_says_what_it_has_seen(cli: Cli, run: Path, pictures: Path) -> None:
    outcome = cli("classify", pictures, "--model", run)
    assert "trained on embedded (8x8 RGB): hamburger, panda, koala, pizza" in outcome.err


def test_first_lines() -> None:
    assert first_line(ValueError("  one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("x" * 300), 10) == "x" * 10


def test_quiet_leaves_results_warnings_and_errors(cli: Callable[..., Any], run: Path) -> None:
    loud, quiet = cli("bpd", "--model", run), cli("bpd", "--model", run, "--quiet")
    assert "model      run" in loud.err
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out == loud.out
    assert "there is no model 'nonsense'" in cli("bpd", "--model", "nonsense", "-q").err
    assert "model      run" in cli("bpd", "--model", run).err, "the next call is loud again"


def test_verbose_tells_versions_and_shows_tracebacks(
    cli: Callable[..., Any], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = cli("bpd", "--model", run, "-v")
    assert f"versions   cpixelcnn {__version__}, Python 3." in outcome.err
    assert f"torch {torch.__version__.split('+')[0]}" in outcome.err

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("why")

    monkeypatch.setattr("cpixelcnn.evaluation.bits_per_dim.bits_per_dim", fail)
    assert "internal error: ZeroDivisionError: why (pass --verbose for the traceback)" in cli("bpd").err
    with pytest.raises(ZeroDivisionError):
        cli("bpd", "-v")
