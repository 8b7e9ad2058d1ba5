"""What a run records of the machine and the versions, and what it does not."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

import cpixelcnn
from cpixelcnn.device import CompilationChoice, PrecisionChoice
from cpixelcnn.runs.environment import cpu_name, describe_environment, record_environment, source_commit

CPU = torch.device("cpu")
PRECISION = PrecisionChoice("float32", "as asked")
COMPILATION = CompilationChoice(False, "auto: a CPU")


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(directory), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_what_is_recorded() -> None:
    command = ["/home/somebody/bin/cpixelcnn", "train", "--lr", "1"]
    found = describe_environment(CPU, PRECISION, COMPILATION, 40, command)
    assert found.command == ["cpixelcnn", "train", "--lr", "1"]
    assert found.images_seen == 40
    assert (found.cpixelcnn, found.torch) == (cpixelcnn.__version__, torch.__version__)
    assert found.python == platform.python_version()
    assert (found.device, found.device_name, found.processes) == ("cpu", found.cpu, 1)
    assert (found.precision, found.precision_reason) == ("float32", "as asked")
    assert (found.compiled, found.compiled_reason) == (False, "auto: a CPU")
    assert found.cores >= 1
    assert found.threads == torch.get_num_threads()
    assert found.cpu
    started = datetime.fromisoformat(found.started)
    assert abs((datetime.now(started.tzinfo) - started).total_seconds()) < 60


def test_nothing_that_names_the_machine_or_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret-9a8b7c")
    monkeypatch.setattr(platform, "node", lambda: pytest.fail("the host name was asked for"))
    text = json.dumps(asdict(describe_environment(CPU, PRECISION, COMPILATION)))
    assert "secret-9a8b7c" not in text
    assert str(Path.home()) + "/" not in text
    assert f"/{getpass.getuser()}/" not in text


def test_each_call_is_appended(tmp_path: Path) -> None:
    for images_seen in (0, 20):
        record_environment(tmp_path, describe_environment(CPU, PRECISION, COMPILATION, images_seen))
    calls = json.loads((tmp_path / "environment.json").read_text())
    assert [call["images_seen"] for call in calls] == [0, 20]


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "\xff"])
def test_a_damaged_record_is_begun_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "environment.json").write_bytes(content.encode("latin-1"))
    record_environment(tmp_path, describe_environment(CPU, PRECISION, COMPILATION))
    assert len(json.loads((tmp_path / "environment.json").read_text())) == 1


def test_training_records_it(fit: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run, epochs=1)
    fit(run, epochs=2, resume=True)
    calls = json.loads((run / "environment.json").read_text())
    assert [(call["images_seen"], call["precision"]) for call in calls] == [(0, "float32"), (20, "float32")]


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "--quiet")
    assert source_commit(package) is None  # in somebody's checkout, but no part of it
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert source_commit(package) == commit
    (tmp_path / "notes.txt").write_text("beside the package")
    assert source_commit(package) == commit
    (package / "__init__.py").write_text("changed = True")
    assert source_commit(package) == f"{commit}+"


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source_commit() is None


def test_the_processor_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_name()
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setenv("PATH", "")
    assert cpu_name() == platform.machine()
