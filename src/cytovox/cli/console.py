"""What is said and where: results on stdout, all else on stderr, one line each."""

from __future__ import annotations

import errno
import json
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from ..errors import CytovoxError

__all__ = [
    "describe",
    "exit_code_of",
    "print_json",
    "print_text",
    "report_error",
    "say",
    "showing_warnings",
]


def say(text: str) -> None:
    """Write one line about the work to stderr."""
    _write(sys.stderr, text)


def print_text(text: str) -> None:
    """Write a result to stdout."""
    _write(sys.stdout, text)


def print_json(value: Mapping[str, Any]) -> None:
    """Write a result to stdout as JSON; ASCII only, so that any console can take it."""
    _write(sys.stdout, json.dumps(value, indent=2, default=str))


def describe(error: BaseException) -> str:
    """Tell an error in one line: where, what, what to do.

    Examples
    --------
    >>> describe(CytovoxError("no images", path="a.rtdc", hint="record with images"))
    'a.rtdc: no images (record with images)'
    >>> describe(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero (say --debug to see where, and please report it)'
    """
    if isinstance(error, CytovoxError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        if error.errno == errno.ENAMETOOLONG:
            text += " (choose a shorter name)"
        else:
            text += " (check that the place is there, writable and not full)"
    elif _is_usage(error):
        text = error.format_message()  # type: ignore[attr-defined]
        text = f"{text.rstrip('.')} (say --help to see what is possible)"
    elif isinstance(error, MemoryError):
        text = "out of memory (close other programs, or give fewer --workers)"
    else:
        text = f"{type(error).__name__}: {error} (say --debug to see where, and please report it)"
    return " ".join(text.split())


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that an error stands for.

    Examples
    --------
    >>> exit_code_of(CytovoxError()), exit_code_of(OSError())
    (1, 74)
    """
    if isinstance(error, CytovoxError):
        return error.exit_code
    if isinstance(error, OSError):
        return 74
    return 2 if _is_usage(error) else 1


def report_error(error: BaseException, *, debug: bool = False) -> int:
    """Say an error in one line, with its traceback if asked; return the exit code."""
    if debug:
        say("".join(traceback.format_exception(error)).rstrip())
    # A command without words has shown its help instead of an error.
    if not _is_usage(error) or error.format_message():  # type: ignore[attr-defined]
        say(f"error: {describe(error)}")
    return exit_code_of(error)


@contextmanager
def showing_warnings() -> Iterator[None]:
    """Show Python's warnings as one line each, once, without the line of code.

    Where warnings have been made errors, they stay errors.
    """
    before = warnings.showwarning
    shown: set[str] = set()

    def show(message: Warning | str, *_place: Any, **_more: Any) -> None:
        text = f"warning: {' '.join(str(message).split())}"
        if text not in shown:
            shown.add(text)
            say(text)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def _is_usage(error: BaseException) -> bool:
    # The parser's errors come from another package from version to version.
    return hasattr(error, "format_message") and getattr(error, "exit_code", None) == 2


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
    except UnicodeEncodeError:
        stream.write(text.encode("ascii", "backslashreplace").decode("ascii") + "\n")
    stream.flush()
