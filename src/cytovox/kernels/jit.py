"""Kernels: functions of arrays that are compiled when they are first called.

To import numba takes longer than a worker process needs for its first unit, and
many processes call no kernel: workers that run the segmenters of users, commands
that only look. So numba is imported with the first kernel that is called.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Literal, TypeVar

__all__ = ["kernel"]

Function = TypeVar("Function", bound=Callable[..., object])

#: Threads that call a kernel at the same time shall not compile it twice.
_making = threading.RLock()


def kernel(*, division: Literal["python", "numpy"] = "python") -> Callable[[Function], Function]:
    """Return the decorator that compiles a function of arrays.

    It releases the GIL, does not reorder or fuse floating-point operations,
    and is compiled once per computer. Where ``NUMBA_DISABLE_JIT`` is 1, it
    stays the Python function that it is.

    Parameters
    ----------
    division
        What becomes of a division by zero: ``"python"``, an error, or
        ``"numpy"``, an infinity or NaN.

    Examples
    --------
    >>> @kernel()
    ... def double(x):
    ...     return 2 * x
    >>> double(3)
    6
    """

    def decorate(function: Any) -> Any:
        return _Kernel(function, division)

    return decorate


class _Kernel:
    """A function that is compiled when it is first called."""

    def __init__(self, function: Any, division: str) -> None:
        functools.update_wrapper(self, function)
        self._function, self._division = function, division
        self._compiled: Any = None

    def __call__(self, *arguments: Any) -> Any:
        return (self._compiled or self._compile())(*arguments)

    @property
    def _numba_type_(self) -> Any:
        """Its type, which numba asks for where another kernel calls this one."""
        return (self._compiled or self._compile())._numba_type_

    def _compile(self) -> Any:
        from .kept_kernels import compiled

        with _making:
            if self._compiled is None:
                self._compiled = compiled(self._function, self._division)
        return self._compiled
