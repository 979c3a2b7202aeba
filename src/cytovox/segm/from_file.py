"""Segmenters from a Python file of the user, also in worker processes.

A class is pickled as the name of its module and its own. For a file that is
on no import path, the module gets a name below this one, which says where
the file is and what is in it. Whoever imports such a name imports this module
first, and finds the file through it, in any process.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import InputNotFoundError, UsageError
from .segmenter import Segmenter

__all__ = ["file_of_segmenter", "is_segmenter_file", "load_segmenter_file"]

#: Makes this module a package, so that there can be modules below it.
__path__: list[str] = []

_DIGITS = 16
#: So many of them stand in the code of the segmenter.
_DIGITS_IN_CODE = 8


def is_segmenter_file(text: str) -> bool:
    """Return whether a text names a Python file rather than a code.

    Examples
    --------
    >>> is_segmenter_file("my_file.py:SegmentMine"), is_segmenter_file("thresh")
    (True, False)
    """
    return _split(text)[0].lower().endswith(".py")


def load_segmenter_file(spec: str | os.PathLike[str]) -> type[Segmenter]:
    """Return a segmenter class from a Python file.

    The file is run once per process, like an imported module, also in worker
    processes. If it has changed between the start of a run and that of a
    worker, the worker refuses it. The code of the segmenter tells the content
    of the file, so that results of an edited file are not taken for those of
    the former one.

    Parameters
    ----------
    spec
        Path of the file and name of the class, ``"my_file.py:SegmentMine"``.
        The name may be left out if the file defines one segmenter.

    Returns
    -------
    type
        The class, which can be pickled.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    UsageError
        If the file cannot be run, or has no such segmenter, or one that
        lacks its algorithm.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "my_file.py"
    ...     _ = path.write_text('''
    ... from cytovox.segm import MPOSegmenter
    ... class SegmentDark(MPOSegmenter):
    ...     @staticmethod
    ...     def segment_algorithm(image, *, level: int = 90):
    ...         return image < level
    ... ''')
    ...     load_segmenter_file(f"{path}:SegmentDark").get_ppid_code().split(".")[0]
    'dark'
    """
    name, class_name = _split(os.fspath(spec))
    path = Path(name).expanduser().resolve()
    if path.suffix.lower() != ".py":
        raise UsageError(f"'{spec}' names no Python file", hint="write my_file.py:SegmentMine")
    try:
        source = path.read_bytes()
    except FileNotFoundError as err:
        raise InputNotFoundError("this file does not exist", path=path) from err
    except OSError as err:
        raise UsageError(f"this file cannot be read: {err.strerror}", path=path) from err
    try:
        module = importlib.import_module(_module_name(path, source))
    except (Exception, SystemExit) as err:
        kind = type(err).__name__
        raise UsageError(
            f"this file cannot be loaded: {kind}: {err}",
            path=path,
            hint="does it run by itself, with: python FILE",
        ) from err
    return _choose(path, _segmenters_of(module), module, class_name)


def file_of_segmenter(cls: type) -> tuple[Path, str] | None:
    """Return the file that a class was loaded from, and the start of its sha256.

    Returns
    -------
    tuple or None
        Path and 16 hexadecimal digits; None for a class from elsewhere.

    Examples
    --------
    >>> file_of_segmenter(Segmenter) is None
    True
    """
    return _parse(cls.__module__)


def _split(spec: str) -> tuple[str, str]:
    # A drive letter has a colon, too, but no Python name behind it.
    match = re.fullmatch(r"(.*):\s*([^\W\d]\w*)\s*", spec, re.S)
    return (match[1], match[2]) if match else (spec, "")


def _segmenters_of(module: ModuleType) -> dict[str, type[Segmenter]]:
    """Return the segmenters that a module defines itself."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if isinstance(thing, type)
        and issubclass(thing, Segmenter)
        and thing.__module__ == module.__name__
    }


def _choose(
    path: Path, found: dict[str, type[Segmenter]], module: ModuleType, name: str
) -> type[Segmenter]:
    names = ", ".join(found) or "none"
    if not name:
        usable = [cls for cls in found.values() if not inspect.isabstract(cls)]
        if len(usable) != 1:
            raise UsageError(
                "this file does not define one segmenter, so say which",
                path=path,
                hint=f"write {path.name}:NAME; it defines {names}",
            )
        cls = usable[0]
    elif name in found:
        cls = found[name]
    else:
        close = difflib.get_close_matches(name, found, 1)
        what = "is no segmenter class of it" if hasattr(module, name) else "is not in it"
        raise UsageError(
            f"this file is there, but '{name}' {what}",
            path=path,
            hint=f"did you mean '{close[0]}'?" if close else f"segmenters in it: {names}",
        )
    _check(path, cls)
    return cls


def _check(path: Path, cls: type[Segmenter]) -> None:
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise UsageError(
            f"segmenter {cls.__name__} lacks {missing}",
            path=path,
            hint="derive it from MPOSegmenter and define segment_algorithm",
        )
    if not isinstance(inspect.getattr_static(cls, "segment_algorithm"), staticmethod):
        raise UsageError(
            f"segment_algorithm of {cls.__name__} is no static method",
            path=path,
            hint="write @staticmethod above it",
        )


def _module_name(path: Path, source: bytes) -> str:
    place = base64.urlsafe_b64encode(os.fsencode(path)).decode("ascii").rstrip("=")
    digest = hashlib.sha256(source).hexdigest()[:_DIGITS]
    stem = re.sub(r"\W", "_", path.stem)
    return f"{__name__}.{stem}:{digest}:{place}"


def _parse(name: str) -> tuple[Path, str] | None:
    """Return path and digest that a module name tells."""
    parts = name.removeprefix(f"{__name__}.").split(":")
    if not name.startswith(f"{__name__}.") or len(parts) != 3:
        return None
    try:
        place = base64.urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4))
    except (binascii.Error, ValueError):
        return None
    return Path(os.fsdecode(place)), parts[1]


class _FileLoader(importlib.abc.Loader):
    """Runs a file as a module, if it is what it was; leaves nothing beside it."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.digest = digest

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave that to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the file."""
        try:
            source = self.path.read_bytes()
        except OSError as err:
            raise ImportError(f"{self.path} cannot be read any more: {err.strerror}") from err
        if hashlib.sha256(source).hexdigest()[:_DIGITS] != self.digest:
            raise ImportError(f"{self.path} has changed since the run began")
        code = compile(source, str(self.path), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # the user has named this file to be run
        for cls in _segmenters_of(module).values():
            cls.content_digest = self.digest[:_DIGITS_IN_CODE]


class _FileFinder(importlib.abc.MetaPathFinder):
    """Finds modules by names that `_module_name` has made."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load such a module; None for all others."""
        found = _parse(fullname)
        if found is None:
            return None
        loader: Any = _FileLoader(*found)
        spec = importlib.util.spec_from_file_location(fullname, found[0], loader=loader)
        if spec is not None:
            spec.cached = None
        return spec


if not any(isinstance(finder, _FileFinder) for finder in sys.meta_path):
    sys.meta_path.append(_FileFinder())
