"""What is said and where: results on stdout, all else on stderr, one line each."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from ..errors import CytovoxError, escaped

if TYPE_CHECKING:
    from .command_options import Said

__all__ = [
    "BY_SIGNAL",
    "FINDINGS",
    "SOME_FAILED",
    "by",
    "complete_streams",
    "counted",
    "describe",
    "describe_each",
    "described",
    "discard",
    "exit_code_of",
    "exit_code_of_all",
    "in_columns",
    "print_json",
    "print_text",
    "report_error",
    "say",
    "show",
    "showing_warnings",
]

#: Exit code when all ran, but something should be looked at.
FINDINGS = 3
#: Exit code when of several inputs not all ended well.
SOME_FAILED = 4
#: Exit codes from here on mean a stop from outside.
BY_SIGNAL = 128
#: Names of the errors by which libraries say that memory is short.
_MEMORY = ("MemoryError", "OutOfMemoryError")


def complete_streams() -> None:
    """Open those of stdin, stdout and stderr that the caller has closed, to lead nowhere.

    Else a file that is opened later would get the number of one of them, and
    with it all that is written there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115


def say(*lines: str) -> None:
    """Write lines about the work to stderr; nothing in them begins another one."""
    with contextlib.suppress(OSError):  # the work continues, even if nothing reads this
        _write(sys.stderr, "\n".join(map(escaped, lines)))


def print_text(text: str) -> None:
    """Write a result, which may have several lines, to stdout."""
    _write(sys.stdout, "\n".join(map(escaped, text.split("\n"))))


def in_columns(
    rows: Iterable[Sequence[str]],
    right: Sequence[int] = (),
    *,
    once: bool = False,
    fold: int | None = None,
) -> list[str]:
    """Return rows as lines with aligned columns, of which the last one may be any length.

    Columns in `right` are aligned there. If `once`, a first cell that comes again
    is left out. The last column is folded at `fold` characters.
    """
    table: list[list[str]] = []
    before = None
    for row in rows:
        *cells, last = map(escaped, row)
        for part in [last] if fold is None else _folded(last, fold):
            table.append(["" if once and cells[0] == before else cells[0], *cells[1:], part])
            before = cells[0]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
    lines = []
    for *cells, last in table:
        padded = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join([*padded, last]))
    return lines


def _folded(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def described(name: str, rows: Iterable[Sequence[str]], fold: int | None = None) -> str:
    """Return what is known of a file as text: its name, then rows of a word and a text."""
    lines = in_columns(rows, once=True, fold=fold)
    return "\n".join([escaped(name), *(f"  {line}" for line in lines)])


def describe_each(
    kind: str,
    names: Sequence[Any],
    look: Callable[[Any], dict[str, Any]],
    in_words: Callable[[dict[str, Any]], str],
    said: Said,
) -> int:
    """Show what each of several files is, whatever is wrong with others; return the exit code.

    What is found of a file may bring an exit code of its own.
    """
    results: list[dict[str, Any]] = []
    codes = []
    for name in names:
        try:
            found = look(name)
        except Exception as error:
            codes.append(report_error(error, debug=said.debug))
            results.append({kind: str(name), "error": describe(error)})
        else:
            codes.append(found.get("exit_code", 0))
            results.append(found)
            if not said.as_json:
                print_text(in_words(found))
    code = exit_code_of_all(codes)
    if said.as_json:
        print_json({"exit_code": code, f"{kind}s": results})
    return code


def by(sizes: Iterable[Any]) -> str:
    """Return sizes along several axes as one text, such as 64 x 64 x 32."""
    return " x ".join(map(str, sizes))


def counted(number: int, what: str) -> str:
    """Return a number with what is counted, such as 1 file or 2 files."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def print_json(value: Mapping[str, Any]) -> None:
    """Write a result to stdout as JSON; ASCII only, so that any console can take it.

    Numbers that JSON does not know, such as NaN, are null.
    """
    _write(sys.stdout, json.dumps(_as_json(value), indent=2, default=str, allow_nan=False))


def _as_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _as_json(one) for name, one in value.items()}
    return [_as_json(one) for one in value] if isinstance(value, list | tuple) else value


def show(plain: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Write a result as JSON or as text; of an empty text nothing is written."""
    if as_json:
        print_json(plain)
    elif text:
        print_text(text)


def describe(error: BaseException) -> str:
    """Describe an error in one line: where, what, what to do."""
    if isinstance(error, CytovoxError):
        text = str(error)
    elif isinstance(error, OSError):
        place = escaped(error.filename) if error.filename else ""
        text = f"{place}: {error.strerror}" if place else str(error)
        if error.errno == errno.ENAMETOOLONG:
            text += " (choose a shorter name)"
        else:
            text += " (check that the place is there, writable and not full)"
    elif isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "cytovox"
        message = error.format_message().rstrip(".")
        text = f"{message} (say {command} --help to see what is possible)"
    elif any(cls.__name__ in _MEMORY for cls in type(error).mro()):
        text = "out of memory (close other programs, or give fewer --workers)"
    elif found := _place_in_a_users_file(error):
        text = f"{type(error).__name__}: {error} (raised by {escaped(found)})"
    elif isinstance(error, ImportError):
        text = f"{error} (install what is missing; cytovox doctor shows what is there)"
    else:
        text = f"{type(error).__name__}: {error} (say --debug to see where, and please report it)"
    return escaped(" ".join(text.split()))


def _place_in_a_users_file(error: BaseException) -> str | None:
    """Return file and line of a user's function, if an error comes from one."""
    from ..recipe.python_file import file_of_module

    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if file_of_module(str(frame.f_globals.get("__name__"))) is not None:
            place = f"{frame.f_code.co_filename}, line {line}"
    return place


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that an error stands for."""
    if isinstance(error, CytovoxError):
        return error.exit_code
    if isinstance(error, OSError):
        return 74
    return error.exit_code if isinstance(error, click.UsageError) else 1


def exit_code_of_all(codes: Sequence[int]) -> int:
    """Return the exit code of work on several inputs, of which each has one."""
    for code in codes:
        if code >= BY_SIGNAL:
            return code
    failed = [code for code in codes if code not in (0, FINDINGS)]
    if failed:
        return SOME_FAILED if len(codes) > 1 else failed[0]
    return max(codes, default=0)


def report_error(error: BaseException, *, debug: bool = False) -> int:
    """Say an error in one line, with its traceback if asked; return the exit code."""
    if debug:
        say(*"".join(traceback.format_exception(error)).rstrip().split("\n"))
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


def _write(stream: TextIO, text: str) -> None:
    try:
        try:
            stream.write(text + "\n")
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode("ascii") + "\n")
        stream.flush()
    except OSError as error:
        discard(stream)
        if not isinstance(error, BrokenPipeError):
            raise


def discard(stream: TextIO) -> None:
    """Discard what else is written to a stream, or Python fails when it ends."""
    with contextlib.suppress(OSError, ValueError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
