"""The one tree of errors: each says what happened, where, and what to do.

Every error that a user can meet derives from `CytovoxError`. Where a builtin
exception means the same, the leaf derives from that as well, so that callers
who know only Python can catch it.
"""

from __future__ import annotations

import os
import unicodedata
from typing import Any

__all__ = [
    "BasinIdentifierMismatchError",
    "BasinNotFoundError",
    "CytovoxError",
    "InputError",
    "InputNotFoundError",
    "InterruptedRunError",
    "OptionError",
    "OutputBusyError",
    "OutputError",
    "OutputExistsError",
    "SegmenterNotApplicableError",
    "StageError",
    "StorageError",
    "UnknownCodeError",
    "UsageError",
    "VerificationError",
    "escaped",
]

#: Kinds of characters that can act on a terminal or end a line, and directions of writing.
_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}
_DIRECTIONS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


def escaped(text: object) -> str:
    r"""Return text as one line in which nothing acts on a terminal.

    Names and metadata come from others: what they hold of control characters,
    ends of lines and changes of the direction of writing is shown, not done.

    Parameters
    ----------
    text
        Text, or what has one, such as a path.

    Returns
    -------
    str
        The text, with such characters as Python would write them.

    Examples
    --------
    >>> print(escaped("a\x1b[2J\nerror: forged"))
    a\x1b[2J\nerror: forged
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        ascii(one)[1:-1]
        if unicodedata.category(one) in _UNSAFE or unicodedata.bidirectional(one) in _DIRECTIONS
        else one
        for one in line
    )


class CytovoxError(Exception):
    """Base of all errors; knows its place and the next step.

    Parameters
    ----------
    what
        One sentence without a full stop that says what went wrong.
    path
        File concerned, if any.
    frame
        Index of the frame in the input (0-based), if any.
    block
        Index of the block of a volume, if any.
    hint
        One sentence without a full stop that says what to do.

    Examples
    --------
    >>> print(CytovoxError("no images", path="a.rtdc", hint="record with images"))
    a.rtdc: no images (record with images)
    """

    exit_code = 1

    def __init__(
        self,
        what: str = "",
        *,
        path: str | os.PathLike[str] | None = None,
        frame: int | None = None,
        block: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.path = None if path is None else os.fspath(path)
        self.frame = frame
        self.block = block
        self.hint = hint

    def __str__(self) -> str:
        """Return the whole message on one line: where, what, what to do."""
        where = [] if self.path is None else [escaped(self.path)]
        if self.frame is not None:
            where.append(f"frame {self.frame}")
        if self.block is not None:
            where.append(f"block {self.block}")
        text = f"{', '.join(where)}: {self.what}" if where else self.what
        return f"{text} ({self.hint})" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would lose the keywords when the error crosses a process.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(
    cls: type[CytovoxError], args: tuple[Any, ...], state: dict[str, Any]
) -> CytovoxError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(CytovoxError, ValueError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class OptionError(UsageError):
    """An option has an unknown name or a value that is not allowed."""


class UnknownCodeError(UsageError):
    """No stage is registered under this code."""


class InputError(CytovoxError):
    """The input can be opened, but is not what it should be."""


class InputNotFoundError(InputError, FileNotFoundError):
    """The input file does not exist."""

    exit_code = 74


class BasinNotFoundError(InputError):
    """Data are kept in another file, which cannot be found."""


class BasinIdentifierMismatchError(InputError):
    """A basin file is there, but holds another measurement."""


class SegmenterNotApplicableError(InputError):
    """A segmenter says that it does not fit this input.

    Parameters
    ----------
    segmenter_class
        The segmenter class or its name.
    reasons_list
        One sentence per reason.
    """

    def __init__(self, segmenter_class: Any, reasons_list: list[str]) -> None:
        name = getattr(segmenter_class, "__name__", str(segmenter_class))
        super().__init__(f"segmenter {name} does not fit this input: {', '.join(reasons_list)}")
        self.segmenter_class = segmenter_class
        self.reasons_list = list(reasons_list)


class StageError(CytovoxError, RuntimeError):
    """A stage of the pipeline failed.

    Parameters
    ----------
    stage
        Name of the stage, e.g. ``"segment"``.
    what
        What happened there.
    """

    def __init__(self, stage: str, what: str = "", **place: Any) -> None:
        super().__init__(f"{stage} failed: {what}" if what else f"{stage} failed", **place)
        self.stage = stage
        self.detail = what

    @classmethod
    def of(cls, stage: str, error: Exception, **place: Any) -> StageError:
        """Return the error of a stage that another exception has caused.

        Parameters
        ----------
        stage
            Name of the stage.
        error
            What was raised there.
        **place
            Path and frame.
        """
        if not isinstance(error, CytovoxError):
            return cls(stage, f"{type(error).__name__}: {error}", **place)
        what = error.detail if isinstance(error, StageError) else error.what
        return cls(stage, what, hint=error.hint, **place)


class OutputError(CytovoxError):
    """The output cannot be made."""


class OutputExistsError(OutputError, FileExistsError):
    """The output exists, and its replacement was not allowed."""


class OutputBusyError(OutputError):
    """Another run is writing this output."""

    exit_code = 75


class StorageError(OutputError, OSError):
    """The storage refused to read or write (full, read-only, gone)."""

    exit_code = 74


class VerificationError(OutputError):
    """The output was read back before publishing and is not what it must be."""


class InterruptedRunError(CytovoxError):
    """The run was stopped from outside."""

    exit_code = 130
