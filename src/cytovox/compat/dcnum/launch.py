"""Running a program that imports dcnum with cytovox in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence

from ...errors import InputNotFoundError, StorageError, UsageError
from ...run.parent_watch import ending_with_parent
from .finder import environment_as_dcnum

__all__ = ["run_as_dcnum"]

#: Seconds that the program gets to end after this one was asked to stop.
_END = 10.0


def run_as_dcnum(argv: Sequence[str]) -> int:
    """Run a program in which ``import dcnum`` means cytovox.

    Parameters
    ----------
    argv
        Program and arguments. A program is looked for beside this Python
        first, then on the path. It must run in an environment in which
        cytovox is installed.

    Returns
    -------
    int
        Exit code of the program; 128 plus the number of the signal that ended
        it, if one did.

    Raises
    ------
    UsageError
        If no program is named.
    InputNotFoundError
        If there is no such program.
    StorageError
        If it cannot be started.

    Examples
    --------
    >>> run_as_dcnum(["python", "-c", "import dcnum.logic, sys; sys.exit(3)"])
    3
    """
    if not argv:
        raise UsageError("no program was named", hint="write: cytovox as-dcnum -- PROGRAM ...")
    program = _find(argv[0])
    try:
        process = subprocess.Popen(
            ending_with_parent([program, *argv[1:]]), env=environment_as_dcnum(dict(os.environ))
        )
    except OSError as err:
        raise StorageError(f"cannot be started: {err.strerror or err}", path=program) from err
    try:
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    return code if code >= 0 else 128 - code


def _find(program: str) -> str:
    # With a folder in its name it is where it is said to be.
    found = shutil.which(program, path=sysconfig.get_path("scripts")) or shutil.which(program)
    if found is None:
        raise InputNotFoundError(
            "there is no such program", path=program, hint="is it installed, and on the path?"
        )
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a program end, which has received Ctrl-C itself; then make it."""
    for ask in (process.terminate, process.kill):
        ask()
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            continue
        return
