"""What every worker process does, whatever it works on."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import connection

__all__ = ["SINGLE_THREAD_VARIABLES", "settle_child", "single_threaded_start"]

#: Numerical libraries read these once, when they are loaded.
SINGLE_THREAD_VARIABLES = (
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMPY_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_starting = threading.RLock()


@contextlib.contextmanager
def single_threaded_start() -> Iterator[None]:
    """Let processes that start meanwhile use one thread each.

    As many workers as cores, each with as many threads as cores, would stand
    in each other's way. The environment is restored afterwards.

    Examples
    --------
    >>> with single_threaded_start():
    ...     os.environ["OMP_NUM_THREADS"]
    '1'
    """
    with _starting:
        before = {name: os.environ.get(name) for name in SINGLE_THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(SINGLE_THREAD_VARIABLES, "1"))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def settle_child() -> None:
    """Make a worker process die with its parent and leave Ctrl-C to it.

    To be called first in the child. The parent may be killed without a chance
    to say goodbye; its sentinel tells all the same.
    """
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = mp.parent_process()
    if parent is not None:
        watch = threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True)
        watch.start()


def _die_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
