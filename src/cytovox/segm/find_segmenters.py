"""Which segmenters there are: installed, defined, or in a Python file of the user."""

from __future__ import annotations

import difflib
import inspect
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UnknownCodeError, UsageError
from ..recipe.python_file import file_of_module, load_python_file
from ..recipe.registry import load_stage, stages
from .segmenter import Segmenter

__all__ = [
    "file_of_segmenter",
    "get_available_segmenters",
    "get_segmenter",
    "get_segmenters",
    "is_segmenter_file",
    "load_segmenter_file",
]


def get_segmenter(code: str) -> Any:
    """Return the segmenter class of a code.

    Parameters
    ----------
    code
        Code of the segmenter.

    Raises
    ------
    UnknownCodeError
        If there is none.

    Examples
    --------
    >>> get_segmenter("thresh").__name__
    'SegmentThresh'
    """
    try:
        return load_stage("segmenter", code, Segmenter)
    except UnknownCodeError as error:
        if "." in code:  # as the code of one in a file is, which ends with a checksum
            error.hint = "it is in a file: give FILE.py:CLASS as the segmenter"
        raise


def get_segmenters() -> dict[str, Any]:
    """Return all segmenter classes by their code, installed or just defined."""
    return stages("segmenter", Segmenter)


def get_available_segmenters() -> dict[str, Any]:
    """Return those segmenter classes whose requirements are installed."""
    return {code: cls for code, cls in get_segmenters().items() if cls.is_available()}


def is_segmenter_file(text: str) -> bool:
    """Return whether a text names a Python file rather than a code."""
    return _split(text)[0].lower().endswith(".py")


def load_segmenter_file(spec: str | os.PathLike[str]) -> type[Segmenter]:
    """Return a segmenter class from a Python file.

    The file is run once per process, like an imported module, also in worker
    processes. If it has changed between the start of a run and that of a
    worker, the worker refuses it. The code of the segmenter contains a
    checksum of the file, so that results of an edited file are not taken for those of
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
        raise UsageError(
            f"'{spec}' does not name a Python file", hint="write my_file.py:SegmentMine"
        )
    module = load_python_file(path)
    return _choose(path, _segmenters_of(module), module, class_name)


def file_of_segmenter(cls: type) -> tuple[Path, str] | None:
    """Return the file that a class was loaded from, and the start of its sha256."""
    return file_of_module(cls.__module__)


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
        what = "is not a segmenter class of it" if hasattr(module, name) else "is not in it"
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
            f"segment_algorithm of {cls.__name__} is not a static method",
            path=path,
            hint="write @staticmethod above it",
        )
