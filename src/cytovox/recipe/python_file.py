"""Python files of a user as modules, in this process and in any other.

A function is pickled as the name of its module and its own. For a file that is
on no import path, the module gets a name below this one, which says where the
file is and what is in it. A process that imports such a name imports this module
first, and finds the file through it, in any process; a file that has changed
meanwhile is refused there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

from ..errors import InputNotFoundError, UsageError

__all__ = ["file_of_module", "load_python_file"]

#: Makes this module a package, so that there can be modules below it.
__path__: list[str] = []

_DIGITS = 16


def load_python_file(path: str | os.PathLike[str]) -> ModuleType:
    """Run a Python file as a module, once per process and content."""
    path = Path(path).expanduser().resolve()
    if path.suffix.lower() != ".py":
        raise UsageError("this is not a Python file", path=path, hint="its name must end with .py")
    try:
        source = path.read_bytes()
    except FileNotFoundError as err:
        raise InputNotFoundError("this file does not exist", path=path) from err
    except OSError as err:
        raise UsageError(f"this file cannot be read: {err.strerror}", path=path) from err
    try:
        return importlib.import_module(_module_name(path, source))
    except (Exception, SystemExit) as err:
        raise UsageError(
            f"this file cannot be loaded: {type(err).__name__}: {err}",
            path=path,
            hint="does it run by itself, with: python FILE",
        ) from err


def file_of_module(name: str) -> tuple[Path, str] | None:
    """Return the file that such a module was loaded from, and its digest."""
    parts = name.removeprefix(f"{__name__}.").split(":")
    if not name.startswith(f"{__name__}.") or len(parts) != 3:
        return None
    try:
        place = base64.urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4))
    except (binascii.Error, ValueError):
        return None
    return Path(os.fsdecode(place)), parts[1]


def _module_name(path: Path, source: bytes) -> str:
    place = base64.urlsafe_b64encode(os.fsencode(path)).decode("ascii").rstrip("=")
    digest = hashlib.sha256(source).hexdigest()[:_DIGITS]
    stem = re.sub(r"\W", "_", path.stem)
    return f"{__name__}.{stem}:{digest}:{place}"


class _FileLoader(importlib.machinery.SourceFileLoader):
    """Loads a file as a module, if it is what it was; leaves nothing beside it."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file, which the user has named to be run."""
        try:
            source = Path(self.path).read_bytes()
        except OSError as err:
            raise ImportError(f"{self.path} cannot be read any more: {err.strerror}") from err
        if f":{hashlib.sha256(source).hexdigest()[:_DIGITS]}:" not in fullname:
            raise ImportError(f"{self.path} has changed since the run began")
        return compile(source, self.path, "exec", dont_inherit=True)


class _FileFinder(importlib.abc.MetaPathFinder):
    """Finds modules by names that `_module_name` has made."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load such a module; None for all others."""
        found = file_of_module(fullname)
        if found is None:
            return None
        loader = _FileLoader(fullname, str(found[0]))
        spec = importlib.util.spec_from_file_location(fullname, found[0], loader=loader)
        if spec is not None:
            spec.cached = None
        return spec


if not any(isinstance(finder, _FileFinder) for finder in sys.meta_path):
    sys.meta_path.append(_FileFinder())
