"""Help is complete and quick, and the options are what the configurations say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import typer.main

from cpixelcnn import __version__
from cpixelcnn.cli.app import app
from cpixelcnn.config import DataConfig, ModelConfig, TrainConfig
from cpixelcnn.presets import PRESETS

COMMANDS = ("train", "eval", "classify", "sample", "fid", "bpd", "models", "checks")
DECIDED_BY_IMAGES = {"image_channels", "image_height", "image_width", "classes", "class_counts"}


def options(command: str) -> dict[str, Any]:
    """The options of a command by each of their spellings."""
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    return {name: parameter for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}


def test_help_does_not_import_torch() -> None:
    script = f"""
import sys
from cpixelcnn.cli.app import app
import cpixelcnn
for command in {COMMANDS!r}:
    app([command, "--help"], standalone_mode=False)
app(["--help"], standalone_mode=False)
heavy = {{"torch", "torchvision", "scipy", "PIL", "safetensors", "numpy", "matplotlib", "sklearn", "jinja2"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert len(sys.modules) < 500, "so many modules take longer than the help may"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage:") == 1 + len(COMMANDS)


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cpixelcnn", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"cpixelcnn {__version__}\n")


def test_help_without_a_command(cli: Callable[..., Any]) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    assert all(f" {command} " in outcome.out for command in COMMANDS)
    assert "Usage:" in cli().out + cli().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(cli: Callable[..., Any], command: str) -> None:
    outcome = cli(command, "-h")
    assert outcome.code == 0
    for name, option in options(command).items():
        assert option.help, f"{command} {name} has no help"
        assert option.metavar or option.is_flag, f"{command} {name} does not say what stands behind it"


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_80_columns_and_each_section_a_screen(
    cli: Callable[..., Any], command: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli(*([command] if command else []), "--help").out.rstrip("\n").split("\n")
    assert max(map(len, lines)) <= 80
    sections = "\n".join(lines).split("\n\n")
    assert max(len(section.splitlines()) for section in sections) <= 25
    assert "\u2026" not in "\n".join(lines)
    assert sections[-1].startswith("Examples:\n  cpixelcnn ")
    for name in options(command) if command else ():
        shown = (name, f"--[no-]{name[2:]}", f"--[no-]{name.removeprefix('--no-')}")
        assert any(each in "\n".join(lines) for each in shown), f"{name} is cut"


def test_help_of_train_shows_defaults_presets_and_extras_as_they_are(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = " ".join(cli("train", "--help").out.split())
    assert "--nr-filters N Channels of the hidden layers. [default: 24]" in text
    assert "--lr X Learning rate of Adam. [default: 0.003]" in text
    assert "'cpixelcnn[tensorboard]'" in text and "'cpixelcnn[wandb]'" in text
    for name, preset in PRESETS.items():
        assert f"{name} {preset.description}" in text


def test_help_has_no_colours_in_a_pipe(cli: Callable[..., Any]) -> None:
    assert "\x1b[" not in cli("bpd", "--help").out


def test_every_field_is_an_option_of_train() -> None:
    names = {field.name for config in (ModelConfig, DataConfig, TrainConfig) for field in fields(config)}
    expected = {"--" + name.replace("_", "-") for name in names - DECIDED_BY_IMAGES}
    assert expected <= set(options("train"))


def test_short_letters_of_the_lineage() -> None:
    found = options("train")
    long = {short: found[short].opts[0] for short in found if len(short) == 2}
    assert long == {
        "-i": "--data-dir",
        "-o": "--out",
        "-d": "--dataset",
        "-r": "--resume",
        "-q": "--nr-resnets",
        "-n": "--nr-filters",
        "-m": "--nr-logistic-mix",
        "-l": "--lr",
        "-e": "--lr-decay",
        "-b": "--batch-size",
        "-x": "--epochs",
        "-s": "--seed",
        "-t": "--save-interval",
        "-v": "--verbose",
    }


@pytest.mark.parametrize("name", ["--model", "--device", "--dataset", "--data-dir", "--out", "--json", "--batch-size"])
def test_shared_options_mean_the_same_everywhere(name: str) -> None:
    """The same spellings and, but for --batch-size and --out, which serve other kinds of work, the same help.

    `classify` has another default model, and says so.
    """
    commands = [command for command in COMMANDS if (command, name) != ("classify", "--model")]
    found = [options(command)[name] for command in commands if name in options(command)]
    assert found
    if name not in ("--batch-size", "--out"):
        assert len({option.help.removesuffix(" Several are compared.") for option in found}) == 1
    assert len({tuple(option.opts) for option in found}) == 1


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["train", "--nr-filter", "3"], "--nr-filters"),
        (["train", "--epoch", "3"], "--epochs"),
        (["eval", "--modle", "x"], "--model"),
        (["clasify", "x"], "classify"),
        (["train", "--preset", "reprot", "--dry-run"], "'report'"),
        (["train", "--dataset", "cifar-10"], "did you mean 'cifar10'"),
        (["train", "--dataset", "embeded", "--dry-run"], "did you mean 'embedded'"),
        (["train", "--film", "liner", "--dry-run"], "linear, mlp or none"),
        (["train", "--precision", "fp16", "--dry-run"], "auto, float32 or bfloat16"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--epochs", "0", "--dry-run"], "--epochs must be 1 or more"),
        (["train", "--lr", "nan", "--dry-run"], "--lr"),
        (["train", "--device", "cuda:7", "--dry-run"], "this machine has: auto, cpu"),
        (["train", "--device", "gpu", "--dry-run"], "this machine has: auto, cpu"),
    ],
)
def test_mistakes_are_usage_errors_with_a_suggestion(
    cli: Callable[..., Any], arguments: list[str], suggestion: str
) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert suggestion in " ".join(outcome.err.split())
    assert outcome.out == ""
