"""One error type per thing that can go wrong for a user, each with the exit code of the command line.

The library raises these and nothing else on bad input; the message is one sentence that says what is wrong, where, and
what to do. A parameter is named in backquotes (`batch_size`); the command line prints the message alone, without a
traceback, and shows such a name as the flag (--batch-size).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class CpixelcnnError(Exception):
    """Base of every error that cpixelcnn raises on purpose."""

    exit_code = 1


class ConfigError(CpixelcnnError, ValueError):
    """A flag, preset, device or configuration value that cannot be used (exit code 2)."""

    exit_code = 2


class DataError(CpixelcnnError):
    """Images, labels or reference statistics that are missing, unreadable or contradictory (exit code 3)."""

    exit_code = 3


class BadImagesError(DataError):
    """Image files that cannot be used, all of them listed at once.

    Attributes:
        failures: ``(path, reason)`` of every bad file, in the order in which they were met.
    """

    def __init__(self, failures: list[tuple[Path, str]], remedy: str) -> None:
        self.failures = failures
        listed = [f"  {path}: {reason}" for path, reason in failures[:20]]
        if len(failures) > 20:
            listed.append(f"  ... and {len(failures) - 20} more")
        super().__init__(f"{plural(len(failures), 'image')} cannot be used; {remedy}:\n" + "\n".join(listed))


class CheckpointError(CpixelcnnError):
    """A model, checkpoint or run directory that is missing, damaged or of another kind (exit code 4)."""

    exit_code = 4


class OutputError(CpixelcnnError):
    """Standard output could not be written, such as to a full disk; what was printed is incomplete (exit code 1)."""


class NonFiniteError(CpixelcnnError):
    """The loss stayed NaN or infinite for too many steps in a row (exit code 5)."""

    exit_code = 5


class Interrupted(CpixelcnnError):  # noqa: N818 (not a fault)
    """A signal asked the work to stop; what was done so far is safe (exit code 128 + signal number).

    Attributes:
        signal_number: the signal that was received (2 for SIGINT, 15 for SIGTERM).
    """

    def __init__(self, message: str, signal_number: int = 2) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class OtherProcessError(CpixelcnnError):
    """Another of several processes has failed and said why; this one ends with the same exit code and says nothing."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process failed; its own message tells why")
        self.exit_code = exit_code


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of another library's error, cut at `limit` characters; its type where it says nothing.

    >>> first_line(ValueError("no\\nreason")), first_line(ValueError())
    ('no', 'ValueError')
    """
    return str(error).strip().split("\n")[0][:limit] or type(error).__name__


def did_you_mean(name: str, known: Iterable[str], listing: str) -> str:
    """The end of a message about an unknown name: the known one that is most like it, or all of them.

    Args:
        name: what was asked for.
        known: what there is.
        listing: introduces all known names, such as "the classes are".

    >>> did_you_mean("koalla", ["panda", "koala"], "the classes are")
    "did you mean 'koala'?"
    >>> did_you_mean("sushi", ["panda", "koala"], "the classes are")
    'the classes are: panda, koala'
    """
    names = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), names, n=1)
    return f"did you mean {names[close[0]]!r}?" if close else f"{listing}: {', '.join(names.values()) or 'none'}"


def plural(count: float, noun: str) -> str:
    """A number with its noun.

    >>> plural(1, "image"), plural(2000000, "image"), plural(0.5, "minute")
    ('1 image', '2000000 images', '0.5 minutes')
    """
    number = f"{count:g}" if isinstance(count, float) else str(count)
    return f"{number} {noun}" if count == 1 else f"{number} {noun}s"
