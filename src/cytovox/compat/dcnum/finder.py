"""How ``import dcnum`` comes to cytovox: here, in its children, and in a program that is run."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import InputNotFoundError, StorageError, UsageError
from ...run.parent_watch import ending_with_parent
from .table import TABLE, is_package

__all__ = ["ON_PATH", "DcnumFinder", "environment_as_dcnum", "install_as_dcnum", "run_as_dcnum"]

#: Folder whose ``dcnum`` brings cytovox in, for processes started later.
ON_PATH = Path(__file__).resolve().parents[1] / "on-path"
_NAME = "dcnum"
#: Modules below these leave the compression filters of HDF5 registered, on
#: which programs rely that use h5py beside them.
_WITH_FILTERS = ("feat", "logic", "read", "segm", "write")
#: Seconds that the program gets to end after this one was asked to stop.
_END = 10.0


def _attribute(module: str, name: str) -> Any:
    """Return what a module lacks so far: one of its names, or a module below it."""
    target = TABLE[module].get(name)
    if target is not None:
        place, _, attribute = target.partition(":")
        value = getattr(importlib.import_module(place), attribute)
        setattr(sys.modules[module], name, value)
        return value
    if f"{module}.{name}" in TABLE:
        return importlib.import_module(f"{module}.{name}")
    raise AttributeError(f"module {module!r}, which is played by cytovox, has no {name!r}")


class _Loader(importlib.abc.Loader):
    """Makes a module whose names are looked up in the table when asked for."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave that to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module."""
        name = module.__name__
        if name.split(".")[1:2] in [[part] for part in _WITH_FILTERS]:
            importlib.import_module("hdf5plugin")
        below = [m.rpartition(".")[2] for m in TABLE if m.rpartition(".")[0] == name]
        public = sorted(TABLE[name])
        module.__doc__ = f"`{name}`, played by cytovox."
        module.__dict__["__all__"] = [one for one in public if not one.startswith("__")]
        module.__dict__["__getattr__"] = functools.partial(_attribute, name)
        module.__dict__["__dir__"] = lambda: sorted({*module.__dict__, *public, *below})


class DcnumFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of the table before any other finder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load a module of dcnum; None for all others."""
        if fullname not in TABLE:
            return None
        return importlib.machinery.ModuleSpec(
            fullname, _Loader(), origin="cytovox", is_package=is_package(fullname)
        )


def environment_as_dcnum(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment in which Python finds cytovox as dcnum."""
    before = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    folders = [str(ON_PATH), *(part for part in before if part != str(ON_PATH))]
    return {**environment, "PYTHONPATH": os.pathsep.join(folders)}


def install_as_dcnum() -> None:
    """Make ``import dcnum`` mean cytovox, in this process and in those it starts.

    It does not matter whether dcnum is installed. May be called again.

    Raises
    ------
    UsageError
        If dcnum itself has been imported before.

    Notes
    -----
    Processes that are started later find it through ``sys.path``, which
    `multiprocessing` passes on, and the variable ``PYTHONPATH``.
    """
    if any(isinstance(finder, DcnumFinder) for finder in sys.meta_path):
        return
    if any(name.partition(".")[0] == _NAME for name in sys.modules):
        raise UsageError(
            "dcnum itself has been imported, so cytovox cannot take its place any more",
            hint="call install_as_dcnum() before anything that imports dcnum",
        )
    sys.meta_path.insert(0, DcnumFinder())
    if str(ON_PATH) not in sys.path:
        sys.path.insert(0, str(ON_PATH))
    os.environ.update(environment_as_dcnum(dict(os.environ)))


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
