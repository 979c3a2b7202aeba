"""How functions travel to workers: by file or module and name; by value where neither is."""

from __future__ import annotations

import functools
import importlib
import io
import sys
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from ..recipe.python_file import file_of_module

__all__ = ["Made", "pickled"]


class Made:
    """What a call has returned; whoever unpickles it makes the same call instead.

    So the loop of a worker file is made in each worker, by the file itself: it
    may hold what cannot be pickled, and its tracebacks name the file.
    """

    def __init__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        self.call = functools.partial(function, *args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        """Return the call."""
        return self.call, ()


def pickled(thing: Any) -> bytes:
    """Return something as bytes for `pickle.loads` in a worker.

    Functions and classes of importable modules, and of files that
    `load_python_file` has loaded, are told by name and loaded by the worker.
    Only lambdas, inner functions and what a script or a notebook defines go
    by value.
    """
    stream = io.BytesIO()
    _Pickler(stream).dump(thing)
    return stream.getvalue()


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # it carries no types
    def reducer_override(self, thing: Any) -> Any:
        """Return how a function is told, see `pickled`."""
        if isinstance(thing, types.FunctionType) and (name := _name_in_file(thing)):
            return _attribute, (thing.__module__, name)
        if isinstance(thing, types.CodeType):
            # cloudpickle says "<dynamic-code>", which helps nobody who reads a traceback.
            return _code, (thing.co_filename, *self.dispatch_table[types.CodeType](thing))
        return super().reducer_override(thing)


def _name_in_file(function: types.FunctionType) -> str | None:
    """Return by which name a user's file holds a function, whatever it calls itself."""
    if file_of_module(function.__module__ or "") is None:
        return None
    held = vars(sys.modules[function.__module__]).items()
    return next((name for name, value in held if value is function), None)


def _attribute(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _code(filename: str, make: Callable[..., types.CodeType], arguments: Any) -> types.CodeType:
    return make(*arguments).replace(co_filename=filename)
