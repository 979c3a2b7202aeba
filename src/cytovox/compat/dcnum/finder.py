"""How ``import dcnum`` comes to cytovox, in this process and in its children."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import UsageError
from .table import TABLE, is_package

__all__ = ["ON_PATH", "DcnumFinder", "environment_as_dcnum", "install_as_dcnum"]

#: Folder whose ``dcnum`` brings cytovox in, for processes started later.
ON_PATH = Path(__file__).resolve().parents[1] / "on-path"
_NAME = "dcnum"
#: Modules below these leave the compression filters of HDF5 registered, on
#: which programs rely that use h5py beside them.
_WITH_FILTERS = ("feat", "logic", "read", "segm", "write")


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
