"""What all workers of a register share: its state, counters and timers, and how they wait."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..run.children import mp_spawn
from .chunk_slot_data import Monitor, RegisterState

__all__ = ["SharedCounters", "count_time"]

Method = TypeVar("Method", bound=Callable[..., Any])
_TASKS = (
    "task_load_all",
    "task_segment_images",
    "task_segment_images_full_chunk",
    "task_label_masks",
    "task_process_labels",
    "task_extract_features",
)
#: Seconds after which an idle worker looks again, should a wake-up be missed.
_LOOK_AGAIN = 1.0
_COUNTERS = ("chunks_loaded", "masks_dropped", "write_queue_size")


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


class SharedCounters:
    """State, counters and timers for threads or processes, under one lock.

    Parameters
    ----------
    shared
        Whether worker processes may use them, not only threads.
    """

    def __init__(self, shared: bool) -> None:
        self.monitor: Monitor = mp_spawn.Condition() if shared else threading.Condition()
        self.timers = {name: mp_spawn.RawValue("d", 0) for name in _TASKS}
        self.counters = {name: mp_spawn.RawValue("q", 0) for name in _COUNTERS}
        self._state = mp_spawn.RawValue("c", RegisterState.WORK.encode())
        self._changes = mp_spawn.RawValue("q", 0)

    @property
    def state(self) -> str:
        """What the workers shall do: ``"w"`` work, ``"p"`` pause, ``"q"`` quit."""
        return str(self._state.value.decode("ascii"))

    @state.setter
    def state(self, value: str) -> None:
        with self.monitor:
            self._state.value = str(value).encode("ascii")
            self.notify()

    @property
    def chunks_loaded(self) -> int:
        """Number of chunks that have been loaded."""
        return self.get_counter_value("chunks_loaded")

    @chunks_loaded.setter
    def chunks_loaded(self, value: int) -> None:
        with self.get_counter_lock("chunks_loaded"):
            self.counters["chunks_loaded"].value = value

    @property
    def masks_dropped(self) -> int:
        """Number of masks without a valid contour, which are not events."""
        return self.get_counter_value("masks_dropped")

    @masks_dropped.setter
    def masks_dropped(self, value: int) -> None:
        with self.get_counter_lock("masks_dropped"):
            self.counters["masks_dropped"].value = value

    @property
    def write_queue_size(self) -> int:
        """Number of pieces that wait to be written."""
        return self.get_counter_value("write_queue_size")

    def close(self) -> None:
        """Ask all workers to quit."""
        self.state = RegisterState.QUIT

    def notify(self) -> None:
        """Wake all that wait for a change."""
        with self.monitor:
            self._changes.value += 1
            self.monitor.notify_all()

    @property
    def changes(self) -> int:
        """A number that grows with every change; see `wait_for_change`."""
        return int(self._changes.value)

    def wait_for_change(self, seen: int, timeout: float) -> None:
        """Wait until something has changed, but not for ever.

        Parameters
        ----------
        seen, timeout
            Value of `changes` before looking for work, and seconds to wait at most.
        """
        with self.monitor:
            self.monitor.wait_for(lambda: self.changes != seen, timeout)

    def serve(self, do: Callable[[], bool]) -> None:
        """Let a worker do what there is to do until it shall quit.

        Parameters
        ----------
        do
            Function that does something and returns whether there was anything.
        """
        while self.state != RegisterState.QUIT:
            seen = self.changes
            if not (self.state == RegisterState.WORK and do()):
                self.wait_for_change(seen, _LOOK_AGAIN)

    def get_counter_lock(self, name: str) -> Monitor:
        """Return the lock under which a counter may be changed.

        Parameters
        ----------
        name
            Name of the counter.
        """
        if name not in self.counters:
            raise KeyError(f"there is no counter '{name}'")
        return self.monitor

    def get_counter_value(self, name: str) -> int:
        """Return the value of a counter.

        Parameters
        ----------
        name
            Name of the counter.
        """
        return int(self.counters[name].value)

    def increment_counter_value(
        self, name: str, increment: int = 1, timeout: float = 5.0, lock: Monitor | None = None
    ) -> None:
        """Add to a counter.

        Parameters
        ----------
        name, increment
            Name of the counter, and what to add.
        timeout, lock
            Not needed here: a thread that holds the lock of a counter may take it again.
        """
        with self.get_counter_lock(name):
            self.counters[name].value += increment

    def get_time(self, method_name: str) -> float:
        """Return the seconds that all workers have spent in a task.

        Parameters
        ----------
        method_name
            Name of the method, e.g. ``"task_load_all"``.
        """
        return float(self.timers[method_name].value)
