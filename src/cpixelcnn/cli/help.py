"""How `--help` looks: sections that fit a screen, names that are not cut, defaults, and examples that can be copied.

Typer's own tables cut long names at 80 columns and do not know the defaults that a preset sets.
"""

from __future__ import annotations

import os
import shutil
import signal
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cpixelcnn.config import DataConfig, ModelConfig, TrainConfig
from cpixelcnn.errors import Interrupted
from cpixelcnn.presets import DEFAULT_PRESET, PRESETS

Row = tuple[str, str]

OPTIONS = "Options"  # those that belong to no panel
_NARROWEST, _WIDEST = 40, 100
_LONGEST_NAME = 32  # a longer one has a line of its own
_UNBROKEN = "\u00a0"  # a space at which no line is broken

# Defaults that are worked out when the command runs.
_COMPUTED = {
    ("train", "out"): "runs/DATASET-PRESET-NUMBER, the next free number",
    ("train", "image_size"): "as the data set",
    ("train", "channels"): "as the data set",
}


class Command(TyperCommand):
    """A command with this help, which an interruption ends as an error of its own."""

    def sections(self) -> list[tuple[str, list[Row]]]:
        """Sections that stand below the options."""
        return []

    def format_help(self, ctx: Any, formatter: Any) -> None:
        parameters: list[Any] = list(self.get_params(ctx))
        options = [p for p in parameters if is_option(p)]
        arguments = [p for p in parameters if not is_option(p)]
        lines = [_usage(ctx, ["[OPTIONS]", *(p.metavar for p in arguments)]), "", *_paragraphs(self.help or "")]
        if arguments:
            lines += ["", *_section("Arguments", [(p.metavar, p.help) for p in arguments])]
        panels: dict[str, list[Row]] = {}
        for option in options:
            panels.setdefault(_panel(option), []).append((_names(option), _meaning(str(self.name), option)))
        for title, rows in [*panels.items(), *self.sections()]:
            lines += ["", *_section(title, rows)]
        lines += ["", *_examples(self.epilog)]
        formatter.write("\n".join(lines) + "\n")

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # what Typer makes of it differs between its versions
            raise Interrupted("interrupted", signal.SIGINT) from None


class TrainCommand(Command):
    """`cpixelcnn train`, whose help describes the presets."""

    def sections(self) -> list[tuple[str, list[Row]]]:
        title = "Presets (residual blocks/filters/logistics, and where they come from)"
        return [(title, [(name, preset.description) for name, preset in PRESETS.items()])]


class Group(TyperGroup):
    """The program itself, with this help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, _summary(command)) for name, command in self.commands.items()]
        parameters: list[Any] = list(self.get_params(ctx))
        options = [(_names(p), p.help) for p in parameters]
        lines = [_usage(ctx, ["COMMAND", "[OPTIONS]"]), "", *_paragraphs(self.help or "")]
        lines += ["", *_section("Commands", commands), "", *_section(OPTIONS, options), "", *_examples(self.epilog)]
        formatter.write("\n".join(lines) + "\n")


def is_option(parameter: Any) -> bool:
    """Whether a parameter of a command is an option, not an argument."""
    return bool(parameter.opts[0].startswith("-"))


def default_of(command: str, option: Any) -> str:
    """The default of an option as people would write it; of one that fills a field of a configuration, the field's."""
    if option.required:
        return "required"
    if (command, option.name) in _COMPUTED:
        return _COMPUTED[command, option.name]
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.default
    if value is None and command == "train":
        value = _configured().get(option.name)
    elif value is None and option.name in _fields(DataConfig):
        return "as trained"
    if value is None:
        return ""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _configured() -> dict[str, Any]:
    """What the fields of the configurations are with the default preset."""
    preset = PRESETS[DEFAULT_PRESET]
    return {**_fields(ModelConfig), **_fields(DataConfig), **_fields(TrainConfig), **preset.model, **preset.train}


def _fields(config: type) -> dict[str, Any]:
    return {name: field.default for name, field in config.__dataclass_fields__.items()}  # type: ignore[attr-defined]


def _panel(option: Any) -> str:
    return getattr(option, "rich_help_panel", None) or OPTIONS


def _names(option: Any) -> str:
    """An option as it is written: "-x, --epochs N", "    --[no-]balanced"."""
    long = next((name for name in option.opts if name.startswith("--")), "")
    if f"--no-{long[2:]}" in option.secondary_opts:
        long = f"--[no-]{long[2:]}"
    short = next((name for name in option.opts if not name.startswith("--")), "")
    value = "" if option.is_flag or not option.metavar else f" {option.metavar}"
    return (f"{short}, " if short else "    ") + long + value


def _meaning(command: str, option: Any) -> str:
    default = default_of(command, option)
    if default in ("", "off"):
        return str(option.help)
    shown = "[required]" if option.required else f"[default: {default}]"
    return f"{option.help} {shown.replace(' ', _UNBROKEN) if len(shown) < 30 else shown}"


def _width() -> int:
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))


def _usage(ctx: Any, pieces: Sequence[str]) -> str:
    return f"{_bold('Usage:')} {' '.join([ctx.command_path, *pieces])}"


def _section(title: str, rows: Iterable[Row]) -> list[str]:
    """Names and what they mean in two columns."""
    rows = list(rows)
    column = min(max(len(name) for name, _ in rows), _LONGEST_NAME) + 2
    lines = [_bold(f"{title}:")]
    for name, text in rows:
        wrapped = _wrapped(text, _width() - column - 2) or [""]
        if len(name) + 2 > column:
            lines.append(f"  {_name(name)}")
        else:
            lines.append(f"  {_name(name)}{' ' * (column - len(name))}{wrapped.pop(0)}")
        lines += [" " * (column + 2) + line for line in wrapped]
    return lines


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        lines += ["", *_wrapped(paragraph, _width())]
    return lines[1:]


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text.replace("\n", " "), width, break_on_hyphens=False)
    return [" ".join(line.replace(_UNBROKEN, " ").split()) for line in lines]


def _summary(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _examples(text: str | None) -> list[str]:
    """A heading and the lines of an epilog, as they are."""
    return [_bold("Examples:"), *(f"  {line}" for line in text.splitlines())] if text else []


def _bold(text: str) -> str:
    return _styled(text, bold=True)


def _name(text: str) -> str:
    return _styled(text, fg="cyan")


def _styled(text: str, **style: Any) -> str:
    """The text in a style, which is taken out again where it does not go to a terminal."""
    return text if "NO_COLOR" in os.environ else typer.style(text, **style)
