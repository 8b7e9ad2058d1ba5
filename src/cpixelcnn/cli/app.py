"""The `cpixelcnn` command: its sub-commands, and what becomes of errors. Importing this does not import torch."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Annotated, Any, TextIO

import typer

from cpixelcnn import __version__
from cpixelcnn.cli import console
from cpixelcnn.cli.bpd import bpd
from cpixelcnn.cli.checks import checks
from cpixelcnn.cli.classify import classify
from cpixelcnn.cli.evaluate import evaluate
from cpixelcnn.cli.fid import fid
from cpixelcnn.cli.help import Command, Group, TrainCommand
from cpixelcnn.cli.models import models
from cpixelcnn.cli.sample import sample
from cpixelcnn.cli.train import train
from cpixelcnn.errors import CpixelcnnError, OtherProcessError, OutputError, first_line

DEBUG_VARIABLE = "CPIXELCNN_DEBUG"

app = typer.Typer(
    name="cpixelcnn",
    help="Class-conditional PixelCNN++: train it, classify and score images with it, sample from it.",
    epilog="""\
cpixelcnn sample                          # images of a model that is included
cpixelcnn classify photos/                # which class each image belongs to
cpixelcnn train -d folder -i my-images/   # a model of your own images
cpixelcnn COMMAND --help                  # the options of a command""",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    "train",
    cls=TrainCommand,
    epilog="""\
cpixelcnn train                                      # a small one, in minutes
cpixelcnn train -d folder -i my-images/ --preset small --out runs/mine
cpixelcnn train --resume runs/mine --epochs 40       # go on, for longer
cpixelcnn train --preset report -d cpen455 -i cpen455/ --dry-run""",
)(train)
app.command(
    "eval",
    cls=Command,
    epilog="""\
cpixelcnn eval --model small -d cpen455 -i cpen455/    # on the test split
cpixelcnn eval --model runs/mine --calibrate validation
cpixelcnn eval --model small --samples out/            # how samples do""",
)(evaluate)
app.command(
    "classify",
    cls=Command,
    epilog="""\
cpixelcnn classify photo.jpg more-photos/ --csv classes.csv
find . -name '*.jpg' | cpixelcnn classify - --model runs/mine""",
)(classify)
app.command(
    "sample",
    cls=Command,
    epilog="""\
cpixelcnn sample --class koala -k 16 --out koalas
cpixelcnn sample --complete photo.png --from-row 16 --class koala,panda""",
)(sample)
app.command(
    "fid",
    cls=Command,
    epilog="""\
cpixelcnn fid --samples out/                    # against their own data set
cpixelcnn fid --samples out/ --reference real/  # against a folder of images
cpixelcnn fid --samples out/ --protocol course  # as published FIDs of cpen455""",
)(fid)
app.command(
    "bpd",
    cls=Command,
    epilog="""\
cpixelcnn bpd --model runs/mine                        # on the test split
cpixelcnn bpd --model small -d cpen455 -i cpen455/ --split validation""",
)(bpd)
app.command(
    "models",
    cls=Command,
    epilog="""\
cpixelcnn models
cpixelcnn models --card small                 # what to know of one
cpixelcnn models other-runs/ --json""",
)(models)
app.command(
    "checks",
    cls=Command,
    epilog="""\
cpixelcnn checks
cpixelcnn checks --device cuda --json > checks.json""",
)(checks)


def _print_version(asked: bool) -> None:
    if asked:
        console.print_result(f"cpixelcnn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; every error becomes one sentence on stderr and an exit code."""
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()  # None where they were closed
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a character that the locale lacks must not end the work
    console.quiet = console.verbose = False
    sys.argv[1:] = _with_resume_value(sys.argv[1:])
    code = _run()
    try:
        if code and "--json" in sys.argv and not console.json_written:
            console.write_json({"error": _last_error or "see stderr", "exit_code": code})
        console.flush()
    except OutputError as error:
        code = code or _failed(str(error), error.exit_code)
    _flush_or_forget()
    sys.exit(code)


def _with_resume_value(arguments: list[str]) -> list[str]:
    """The arguments with "auto" after a `--resume` that has no value, since Typer's options need one.

    >>> _with_resume_value(["train", "--resume", "--epochs", "3"])
    ['train', '--resume', 'auto', '--epochs', '3']
    """
    if arguments[:1] != ["train"]:
        return arguments
    result = []
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        bare = following.startswith("-") and not os.path.exists(following)  # a run may be called -run
        result += [argument, "auto"] if argument in ("--resume", "-r") and bare else [argument]
    return result


_last_error = ""


def _run() -> int:
    try:
        return int(app(prog_name="cpixelcnn", standalone_mode=False) or 0)
    except OtherProcessError as error:
        return error.exit_code
    except CpixelcnnError as error:
        return _failed(console.with_flags(str(error)), error.exit_code)
    except _CommandError as error:
        return _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough
    except Exception as error:
        if console.verbose or os.environ.get(DEBUG_VARIABLE):
            raise
        if _is_out_of_memory(error):
            return _failed("out of memory; pass a smaller --batch-size (checkpoints are intact)", 1)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            what = error.filename or "the output"
            return _failed(f"{what} could not be written ({error.strerror}); make room, or choose another place", 1)
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            what, remedy = error.filename or "a file", "close other programs, or allow more (ulimit -n)"
            return _failed(f"{what} could not be opened ({error.strerror}); {remedy}", 1)
        if isinstance(error, FileNotFoundError) and not _has_working_directory():
            return _failed("the working directory has been removed; change to another one", 2)
        named = f"{type(error).__name__}: {first_line(error)}"
        return _failed(f"internal error: {named} (pass --verbose for the traceback)", 1)


# What Typer raises for a wrong option or argument. It has a name only in the package that Typer is built on, which some
# of its versions bring along and others import.
_CommandError: Any = typer.BadParameter.__mro__[2]


def _misused(error: Any) -> int:
    """Tell of a usage error, and where help is."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    message = " ".join(error.format_message().split())
    code = _failed(message[:1].lower() + message[1:].removesuffix("."), error.exit_code)
    if context is not None:
        console.error(f"help: {context.command_path} --help")
    return code


def _has_working_directory() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _is_out_of_memory(error: Exception) -> bool:
    """Whether torch, the CPU's allocator (its texts on Linux, macOS and Windows), Python or a library lacks memory."""
    texts = (
        *("DefaultCPUAllocator", "can't allocate memory", "Cannot allocate memory", "not enough memory"),
        "failed to map segment from shared object",  # a library that is imported
        "error return without exception set",  # no room even for the exception
    )
    named = type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)
    return named or any(text in str(error) for text in texts)


def _failed(message: str, code: int) -> int:
    global _last_error
    _last_error = message
    if code < 128:
        process = f"process {os.environ.get('RANK')}: " if console.silent else ""
        console.error(f"{process}error: {message}", style="red")
    else:
        console.info(message)
    return code


def _flush_or_forget() -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        sys.stdout = _nowhere()  # what the interpreter flushes at exit must not fail again


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")
