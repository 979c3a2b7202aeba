"""What every worker process does, and how it is started, whatever it works on.

A worker never outlives the process that started it. Three mechanisms ensure
that, since each alone has a gap: the kernel kills it when its parent has died (Linux
only, and before it has asked for it nothing happens), a thread of it waits for
the end of its parent (which cannot act while foreign code keeps the
interpreter busy), and a parent that ends in order kills those that are left.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing as mp
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection
from multiprocessing.context import SpawnContext
from typing import Any, Protocol

__all__ = [
    "SINGLE_THREAD_VARIABLES",
    "Killable",
    "describe_exit",
    "kill_children",
    "mp_spawn",
    "note_child",
    "settle_child",
    "single_threaded_start",
    "start_child",
]

#: Everything that processes share is made for processes that start from nothing.
mp_spawn: SpawnContext = mp.get_context("spawn")

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
#: What a terminal sends to a whole group of processes; the parent decides.
_LEFT_TO_PARENT = ("SIGINT", "SIGHUP", "SIGBREAK")
#: Number of the request to be killed with the parent, from ``linux/prctl.h``.
_PR_SET_PDEATHSIG = 1
_starting = threading.RLock()


class Killable(Protocol):
    """A process, or what stands for one."""

    def kill(self) -> None:
        """Make it end at once."""


_noted: weakref.WeakSet[Any] = weakref.WeakSet()


@contextlib.contextmanager
def single_threaded_start() -> Iterator[None]:
    """Let processes that start meanwhile use one thread each.

    As many workers as cores, each with as many threads as cores, would slow
    each other down. The environment is restored afterwards.
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


def start_child(start: Callable[[], None], *, imports_main: bool = True) -> None:
    """Start a worker process that lives as long as this process.

    It imports the script of this process first, unless `imports_main` is false.

    To Linux the parent is the thread that has started a process, and a worker
    that asked to be killed with its parent ends with that thread. So all are
    started by the main thread or by one that never ends.
    """
    if threading.current_thread() is threading.main_thread():
        _start(start, imports_main)
    else:
        _starter.submit(_start, start, imports_main).result()


def _start(start: Callable[[], None], imports_main: bool) -> None:
    main = contextlib.nullcontext() if imports_main else _nameless_main()
    with single_threaded_start(), _interrupts_held(), main:
        start()


@contextlib.contextmanager
def _nameless_main() -> Iterator[None]:
    """Let processes that start meanwhile not import the script of this one.

    Multiprocessing finds the script by these two attributes. Importing it would
    run what it does again, unless it is guarded.
    """
    main = sys.modules["__main__"]
    held: dict[str, Any] = {
        name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)
    }
    vars(main).pop("__file__", None)
    vars(main)["__spec__"] = None
    try:
        yield
    finally:
        vars(main).pop("__spec__")
        vars(main).update(held)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block Ctrl-C for processes that start meanwhile, until they can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # It would unblock signals if it were started along with the first process.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _signals(_LEFT_TO_PARENT))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signals(names: tuple[str, ...]) -> set[signal.Signals]:
    return {getattr(signal, name) for name in names if hasattr(signal, name)}


#: A thread that starts processes for others, one after the other, and never ends before
#: the program does.
_starter = ThreadPoolExecutor(1, thread_name_prefix="cytovox-starter")


def note_child(child: Killable) -> None:
    """Let `kill_children` also kill a process that `multiprocessing` does not know."""
    _noted.add(child)


def describe_exit(code: int | None) -> str:
    """Say how a process ended."""
    if code is None:
        return "cannot be ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def kill_children() -> None:
    """Kill all worker processes of this process, because it is about to end."""
    for child in (*mp.active_children(), *_noted):
        with contextlib.suppress(Exception):  # it has ended, or was never started
            child.kill()


def settle_child() -> None:
    """Make a worker process die with its parent and leave Ctrl-C to it.

    To be called first in the child. The parent may be killed without a chance
    to end its children.
    """
    numbers = _signals(_LEFT_TO_PARENT)
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # processes that this one starts may receive them
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    parent = mp.parent_process()
    if parent is not None:
        _die_by_kernel(parent.pid)
        watch = threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True)
        watch.start()


def _die_by_kernel(parent: int | None) -> None:
    """Ask Linux to kill this process when its parent dies."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it has died before we could ask
        os._exit(1)


def _die_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
