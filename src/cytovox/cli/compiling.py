"""Noticing that kernels are being compiled, which happens once on a computer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["reporting_compilation"]


@contextmanager
def reporting_compilation(report: Callable[[str | None], None]) -> Iterator[None]:
    """Call a function when a kernel of ours begins to compile, and when all are done.

    The compiler itself announces this, and only where its cache has nothing,
    so nothing is guessed.

    Parameters
    ----------
    report
        Receives the name of the kernel, or None when none is being compiled any
        more. May be called from any thread.
    """
    from numba.core import event

    class Compilations(event.Listener):
        """Counts the compilations under way; one may need another."""

        def __init__(self) -> None:
            self.under_way = 0

        def on_start(self, happening: Any) -> None:
            function = happening.data["dispatcher"].py_func
            if function.__module__.startswith("cytovox."):
                self.under_way += 1
                report(function.__name__.strip("_"))

        def on_end(self, happening: Any) -> None:
            function = happening.data["dispatcher"].py_func
            if function.__module__.startswith("cytovox."):
                self.under_way -= 1
                if not self.under_way:
                    report(None)

    listener = Compilations()
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)
