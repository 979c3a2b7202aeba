"""A stop watch for tasks."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["count_time"]

Method = TypeVar("Method", bound=Callable[..., Any])


class count_time:  # noqa: N801 - documented name of a decorator
    """Decorator for counting execution time.

    The seconds of each call that did something are added to
    ``instance.timers[name of the method]``, where there is such a timer.

    Examples
    --------
    >>> import multiprocessing
    >>> class Worker:
    ...     timers = {"work": multiprocessing.RawValue("d", 0)}
    ...     @count_time()
    ...     def work(self):
    ...         return True
    >>> worker = Worker()
    >>> worker.work(), worker.timers["work"].value > 0
    (True, True)
    """

    def __call__(self, func: Method) -> Method:
        """Return the function with a stop watch around it."""
        name = func.__name__

        @functools.wraps(func)
        def timed(inst: Any, *args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return func(inst, *args, **kwargs)
            finally:
                timer = inst.timers.get(name)
                if timer is not None:
                    with getattr(inst, "monitor", contextlib.nullcontext()):
                        timer.value += time.perf_counter() - begin

        return timed  # type: ignore[return-value]
