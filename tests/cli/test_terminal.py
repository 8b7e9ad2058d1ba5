"""Terminals of every kind: without colour, dumb, twenty columns wide, ASCII only; and none at all."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpixelcnn.cli import console

Cli = Callable[..., Any]
ESCAPE = "\x1b["


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Call `cpixelcnn` as somebody at a terminal does."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(io, "StringIO", Terminal)
    return cli


def without_sequences(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_colours_are_for_terminals(on_terminal: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["bpd", "--model", run, "--split", "train"]
    assert ESCAPE in on_terminal(*arguments).out
    monkeypatch.setenv("NO_COLOR", "1")
    plain = on_terminal(*arguments).out
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    monkeypatch.setenv("TERM", "dumb")
    assert ESCAPE not in on_terminal(*arguments).out


@pytest.mark.parametrize("terminal", ["xterm-256color", "dumb"])
@pytest.mark.parametrize("columns", ["20", "200"])
def test_training_at_a_terminal(
    on_terminal: Cli, photographs: Path, monkeypatch: pytest.MonkeyPatch, terminal: str, columns: str
) -> None:
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.delenv("LINES", raising=False)  # with both, Rich goes by them on a dumb terminal, too; xdist sets it
    sizes = ["-n", 4, "-m", 2, "--image-size", 8, "-x", 1]
    outcome = on_terminal("train", "-d", "folder", "-i", photographs, *sizes, "-o", "a [red] run")
    assert outcome.code == 0, outcome.err
    said = without_sequences(outcome.out + outcome.err)
    table = columns == "200" or terminal == "dumb"  # which Rich takes for 80 columns wide
    assert ("95 % interval  macro F1" in said) is table
    assert "  1/1  " in said if table else "epoch 1/1" in said
    assert ("ETA" in said) is (terminal != "dumb")
    assert "[red]" in said.replace("\n", "")
    if terminal == "dumb":
        assert ESCAPE not in outcome.out


@pytest.mark.parametrize("columns", ["20", "1"])
def test_narrow_tables_and_help(
    cli: Cli, run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for arguments in (
        ["bpd", "--model", run, "--split", "train"],
        ["eval", "--model", run, "--split", "train"],
        ["classify", pictures, "--model", run],
        ["train", "--help"],
        ["eval", "--modle"],
    ):
        assert cli(*arguments).code == (2 if arguments[-1] == "--modle" else 0)


def test_paths_are_not_wrapped_where_a_program_reads(cli: Cli, run: Path, tmp_path: Path) -> None:
    """Messages are lines: a long path in one is not broken at the width of a terminal that is not there."""
    outcome = cli("bpd", "--model", tmp_path / "a" / ("very " * 40 + "long") / "path")
    assert str(tmp_path / "a" / ("very " * 40 + "long") / "path") in outcome.err


def test_c_locale_and_ascii(home: Path, run: Path, pictures: Path, tmp_path: Path) -> None:
    """Characters that the terminal lacks are replaced; the work is done all the same."""
    folder = pictures.rename(tmp_path / "grün 猫 ☃")
    script = f"""
import sys
from cpixelcnn.cli import app, console
run = ["--model", {str(run)!r}]
for arguments in (["classify", {str(folder)!r}, *run], ["bpd", *run, "--split", "train"], ["train", "-h"],
                  ["bpd", "--split", "ä"], ["classify", {str(folder)!r}, *run, "--json"]):
    console.json_written = False
    sys.argv = ["cpixelcnn", *arguments]
    try:
        app.main()
    except SystemExit as stop:
        print("code", stop.code, file=sys.stderr)
"""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))},
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "COLUMNS": "60",
        "TERM": "dumb",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=home, env=environment, timeout=100, check=False
    )
    err = done.stderr.decode("ascii")
    assert re.findall(r"code (\d+)", err) == ["0", "0", "0", "2", "0"], err
    assert "8 images" in done.stdout.decode("ascii")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a stand-in for the stream may be left for the end to close
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("json", [[], ["--json"]], ids=["for people", "json"])
def test_a_stream_that_was_closed_before_the_start(
    cli: Cli, run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, stream: str, json: list[str]
) -> None:
    """`2>&-`: Python sets the stream to None."""
    original = contextlib.redirect_stdout if stream == "stdout" else contextlib.redirect_stderr
    monkeypatch.setattr(contextlib, original.__name__, lambda _: original(None))  # type: ignore[arg-type]
    outcome = cli("classify", pictures, "--model", run, *json)
    assert outcome.code == 0
    if stream == "stderr":
        assert len(outcome.document["results"]) == 8 if json else "8 images" in outcome.out


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_closed_stderr_loses_no_error_code(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    original = contextlib.redirect_stderr
    monkeypatch.setattr(contextlib, "redirect_stderr", lambda _: original(None))
    outcome = cli("bpd", "--model", "absent", "--json")
    assert outcome.code == 4
    assert "absent" in outcome.document["error"]


def test_durations() -> None:
    assert [console.duration(s) for s in (0, 59.4, 61, 3599.6, 3600, 93784)] == [
        "0:00",
        "0:59",
        "1:01",
        "1:00:00",
        "1:00:00",
        "26:03:04",
    ]


def test_a_second_document_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "json_written", False)
    console.write_json({"a": 1})
    with pytest.raises(AssertionError):
        console.write_json({"b": 2})
    assert capsys.readouterr().out == '{\n  "a": 1\n}\n'


def test_a_byte_order_mark_in_a_name_is_seen() -> None:
    """Otherwise the file that does not exist looks like the one that does."""
    assert console.printable("there is no \ufeffkoala.png") == "there is no \ufffdkoala.png"
