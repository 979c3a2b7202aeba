"""Functions that threads of one process may call at once.

Starting a process costs as long as labelling tens of millions of voxels. What
spends its time in compiled code that releases the interpreter needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["may_use_threads", "uses_threads"]

Function = TypeVar("Function", bound=Callable[..., Any])


def uses_threads(function: Function) -> Function:
    """Say that blocks of a function may be done by threads of one process.

    It must be called by several threads at once without harm, and release the
    interpreter (GIL) while it computes, as NumPy and most compiled code do.

    Parameters
    ----------
    function
        Function of an array, or what is called for a block.

    Examples
    --------
    >>> @uses_threads
    ... def bright(array):
    ...     return array > 100
    >>> may_use_threads(bright), may_use_threads(len)
    (True, False)
    """
    function.uses_threads = True  # type: ignore[attr-defined]
    return function


def may_use_threads(function: Callable[..., Any]) -> bool:
    """Return whether that was said of a function.

    Parameters
    ----------
    function
        The function.
    """
    return bool(getattr(function, "uses_threads", False))
