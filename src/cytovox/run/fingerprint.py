"""What a result depends on, as plain values that can be compared later.

A run that resumes another one may only keep what was made from the same input,
by the same function, with the same parameters and geometry.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FileStamp", "describe_function", "differences", "plain"]

_DIGITS = 16
#: Bytes at either end of a file that its stamp reads, and how much in between.
_ENDS = 1 << 16
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 12
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes if a file changes, without reading all of it."""

    path: Path
    size: int  # bytes
    mtime_ns: int  # when its content was changed, which any program can set
    #: When anything of it was changed, which only the system sets; on Windows, when made.
    ctime_ns: int
    access: tuple[int, ...]  # mode, number of names and owner; they alter `ctime_ns` too
    content: str  # digest of both ends and of samples in between

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """Return the stamp of a file as it is now."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            inner = max(0, status.st_size - _ENDS - _SAMPLE_BYTES)
            digest.update(file.read(_ENDS))
            for number in range(1, _SAMPLES):
                file.seek(max(_ENDS, number * inner // _SAMPLES))
                digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, status.st_size - _ENDS))
            digest.update(file.read(_ENDS))
        return cls(
            path,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            (status.st_mode, status.st_nlink, status.st_uid, status.st_gid),
            digest.hexdigest()[:_DIGITS],
        )

    def change(self, *, may_grow: bool = False) -> str | None:
        """Say what has happened to the file since, or None if nothing has.

        A file that only got other rights, another name or another owner is the same.
        """
        try:
            now = FileStamp.of(self.path)
        except OSError as err:
            return f"it cannot be read any more: {err.strerror or err}"
        if may_grow and now.size >= self.size:
            return None
        if now.size != self.size:
            return f"its size was {self.size} and is {now.size}"
        if now.content != self.content or now.mtime_ns != self.mtime_ns:
            return "its content was written again"
        if now.ctime_ns != self.ctime_ns and now.access == self.access:
            return "it was written again, and its time of change was put back"
        return None


def plain(value: Any) -> Any:
    """Return a value as JSON would return it."""
    return json.loads(json.dumps(_plain(value), sort_keys=True))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"sha256:{_digest(bytes(value))}"
    if callable(value):
        return describe_function(value)
    tolist = getattr(value, "tolist", None)  # NumPy's scalars and arrays
    if tolist is not None:
        if getattr(value, "size", 1) > 1000:
            return f"{value.dtype}{list(value.shape)} sha256:{_digest(value.tobytes())}"
        return _plain(tolist())
    if _is_told_by_address(value) and hasattr(value, "__dict__"):
        return {type(value).__name__: _plain(vars(value))}
    return repr(value)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say what has changed between two fingerprints, a phrase for each change."""
    return list(_differences(plain(old), plain(new), ""))


def _differences(old: Any, new: Any, place: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            inner = f"{place}: {key}" if place else key
            yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), inner)
    elif old is _ABSENT:
        yield f"{place} is new"
    elif new is _ABSENT:
        yield f"{place} is gone"
    elif old != new:
        yield f"{place} was {_short(old)} and is {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def describe_function(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's name and a digest of its source.

    For a function that is defined in a module, its whole file counts, since it
    may call others there. For one in a script or typed in, its own source and
    that of all it names there count, so that the rest of the script may change.
    Values that a closure or a `functools.partial` holds count as well.
    """
    if isinstance(function, functools.partial):
        bound = {"args": _plain(function.args), "keywords": _plain(function.keywords)}
        return {**describe_function(function.func), "partial": bound}
    target: Any = inspect.unwrap(function)
    if not isinstance(target, (types.FunctionType, types.MethodType, type)):
        if isinstance(target, types.BuiltinFunctionType) or not hasattr(target, "__dict__"):
            return {"name": _name(target), "source": _version_of(target)}
        return {**describe_function(type(target)), "state": _plain(vars(target))}
    if isinstance(target, types.MethodType):
        target = target.__func__
    described: dict[str, Any] = {
        "name": _name(target),
        "source": f"sha256:{_digest(_source(target))}",
    }
    if closure := getattr(target, "__closure__", None):
        names = target.__code__.co_freevars
        cells = zip(names, closure, strict=True)
        described["closure"] = {name: _cell(cell) for name, cell in cells}
    return described


def _cell(cell: types.CellType) -> Any:
    try:
        value = cell.cell_contents
    except ValueError:  # not filled yet
        return None
    if callable(value) and hasattr(value, "__code__"):
        # Not its closure, in which it may be itself.
        return {"name": _name(value), "source": f"sha256:{_digest(_source(value))}"}
    # Text of an object contains its address, which is another one each time.
    return type(value).__name__ if _is_told_by_address(value) else _plain(value)


def _is_told_by_address(value: Any) -> bool:
    return getattr(type(value), "__repr__", None) is object.__repr__


def _name(target: Any) -> str:
    name = getattr(target, "__qualname__", type(target).__qualname__)
    module = str(getattr(target, "__module__", ""))
    # The module of a user's file is identified by its digest, not by its path.
    return name if ":" in module or module == "__main__" else f"{module}.{name}"


def _version_of(target: Any) -> str:
    package = str(getattr(target, "__module__", "") or "").partition(".")[0]
    return f"{package} {getattr(sys.modules.get(package), '__version__', '')}".strip()


def _source(target: Any) -> bytes:
    """Return the source of the module that defines something, else what it needs."""
    module = sys.modules.get(target.__module__)
    file = getattr(module, "__file__", None)
    if file is not None and target.__module__ != "__main__":
        try:
            return Path(file).read_bytes()
        except OSError:
            pass
    return b"".join(_needed(target, set()))


def _needed(target: Any, seen: set[int]) -> Iterator[bytes]:
    """Yield the source of a function or class, and of what it names beside it."""
    seen.add(id(target))
    code = getattr(target, "__code__", None)
    try:
        yield inspect.getsource(target).encode()
    except (OSError, TypeError):
        yield repr(target).encode() if code is None else _code_bytes(code)
    if code is None:
        return
    for name in _names(code):
        value = target.__globals__.get(name, _ABSENT)
        if isinstance(value, (types.FunctionType, type)):
            if value.__module__ == target.__module__ and id(value) not in seen:
                yield from _needed(value, seen)
        elif isinstance(value, (bool, int, float, str, tuple, list, dict)):
            yield f"{name}={json.dumps(_plain(value), sort_keys=True)}".encode()


def _names(code: types.CodeType) -> list[str]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return sorted({*code.co_names, *(name for c in inner for name in _names(c))})


def _code_bytes(code: types.CodeType) -> bytes:
    inner = b"".join(_code_bytes(c) for c in code.co_consts if isinstance(c, types.CodeType))
    constants = repr([c for c in code.co_consts if not isinstance(c, types.CodeType)])
    return code.co_code + constants.encode() + repr(code.co_names).encode() + inner


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
