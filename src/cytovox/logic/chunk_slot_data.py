"""The arrays of one chunk of frames, what it waits for, and which frames are worked on."""

from __future__ import annotations

import math
import threading
import time
from enum import StrEnum
from multiprocessing.synchronize import Condition
from typing import Any

import numpy as np
import numpy.typing as npt

from ..run.children import mp_spawn
from ..run.rows import no_objects

__all__ = [
    "BYTES_PER_PIXEL",
    "ChunkSlotData",
    "Monitor",
    "RegisterState",
    "SlotState",
    "StateWarden",
    "mp_spawn",
]

#: The lock of slots and registers, with which they also wait for changes.
Monitor = threading.Condition | Condition

_FREE, _RESERVED, _DONE = 0, 1, 2

#: The arrays of a slot: their type, and the feature without which there is none.
_ARRAYS: dict[str, tuple[type[np.generic], str | None]] = {
    "image": (np.uint8, None),
    "image_bg": (np.uint8, "image_bg"),
    "image_corr": (np.int16, "image_bg"),
    "mask": (np.bool_, None),
    "labels": (np.uint16, None),
    "bg_off": (np.float64, "bg_off"),
    "duplicate": (np.bool_, None),
    "objects": (np.int64, None),
    "_progress": (np.uint8, None),
}
_PER_PIXEL = ("image", "image_bg", "image_corr", "mask", "labels")
#: Bytes of a slot for each pixel of its frames.
BYTES_PER_PIXEL = sum(np.dtype(_ARRAYS[name][0]).itemsize for name in _PER_PIXEL)


class SlotState(StrEnum):
    """What a chunk slot waits for."""

    LOAD = "i"
    """Wants the images of a chunk, also when nothing has happened yet."""
    SEGMENT = "s"
    """Wants masks."""
    LABEL = "m"
    """Has masks, wants labels."""
    CLEAN = "l"
    """Has labels, wants them cleaned."""
    MEASURE = "e"
    """Has clean labels, wants features."""


class RegisterState(StrEnum):
    """What the workers of a register shall do."""

    WORK = "w"
    PAUSE = "p"
    QUIT = "q"


class ChunkSlotData:
    """Arrays for the images, masks and labels of a chunk.

    Processes share them, unless they are `private` to the threads of this process,
    which costs less. The monitor locks all but their content; slots of one register
    share one.
    """

    image: npt.NDArray[np.uint8]  # (N, H, W), as all without another shape
    image_bg: npt.NDArray[np.uint8] | None
    image_corr: npt.NDArray[np.int16] | None  # image less background
    bg_off: npt.NDArray[np.float64] | None  # (N,), offset of the background
    mask: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.uint16]
    duplicate: npt.NDArray[np.bool_]  # (N,), frames that equal their predecessor
    objects: npt.NDArray[np.int64]  # (N, 8), as those of `FrameRows`, so far
    _progress: npt.NDArray[np.uint8]  # (N,)

    def __init__(
        self,
        shape: tuple[int, int, int],
        available_features: list[str] | None = None,
        *,
        monitor: Monitor | None = None,
        private: bool = False,
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.length = self.shape[0]
        self.private = private
        self.available_features = list(available_features or [])
        self.monitor = monitor or threading.Condition()
        self._state = mp_spawn.RawValue("c", SlotState.LOAD.encode())
        self._chunk = mp_spawn.RawValue("q", -1)
        #: Whether the events of the chunk are known without segmenting it.
        self.is_known = False
        #: What threads of this process work on, by its first frame: its end, and since when.
        self.under_way: dict[int, tuple[int, float]] = {}
        self._memory = {
            name: self._allocate(dtype, math.prod(self._shape_of(name)))
            for name, (dtype, needed) in _ARRAYS.items()
            if needed is None or needed in self.available_features
        }
        self._view()

    def _allocate(self, dtype: type[np.generic], size: int) -> Any:
        """Return memory for an array, filled with zeros."""
        if self.private:
            return np.zeros(size, dtype)
        return mp_spawn.RawArray("B", size * np.dtype(dtype).itemsize) if size else bytearray()

    def _shape_of(self, name: str) -> tuple[int, ...]:
        if name == "objects":
            return no_objects(self.length).shape
        return self.shape if name in _PER_PIXEL else (self.length,)

    def _view(self) -> None:
        for name, (dtype, _) in _ARRAYS.items():
            memory = self._memory.get(name)
            view = None if memory is None else np.frombuffer(memory, dtype)
            setattr(self, name, None if view is None else view.reshape(self._shape_of(name)))

    def __getstate__(self) -> dict[str, Any]:
        # Views are made anew on the other side; the memory is the same.
        return {k: v for k, v in self.__dict__.items() if not isinstance(v, np.ndarray)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._view()

    @property
    def chunk(self) -> int:
        """Number of the chunk that the slot holds, -1 at first."""
        return int(self._chunk.value)

    @chunk.setter
    def chunk(self, value: int) -> None:
        self._chunk.value = value

    @property
    def state(self) -> str:
        """One of the letters of `SlotState`; a new one frees all frames."""
        return str(self._state.value.decode("ascii"))

    @state.setter
    def state(self, value: str) -> None:
        with self.monitor:
            if value != self.state:
                self._progress[:] = _FREE
                self._state.value = str(value).encode("ascii")
                self.monitor.notify_all()

    def acquire_task_lock(self, req_state: str, batch_size: int | None = None) -> tuple[int, int]:
        """Reserve the first run of free frames of a slot in a state; return start and stop."""
        with self.monitor:
            if self.state != req_state:
                return 0, 0
            free = np.flatnonzero(self._progress == _FREE)
            if not free.size:
                return 0, 0
            start = int(free[0])
            taken = np.flatnonzero(self._progress[start:] != _FREE)
            stop = start + int(taken[0]) if taken.size else self.length
            if batch_size is not None:
                stop = min(stop, start + batch_size)
            self._progress[start:stop] = _RESERVED
            self.under_way[start] = stop, time.monotonic()
            return start, stop

    def release_task_lock(self, start: int, stop: int, task_done: bool = True) -> None:
        """Release frames, as done or for others to take."""
        with self.monitor:
            self._progress[start:stop] = _DONE if task_done else _FREE
            self.under_way.pop(start, None)
            if not task_done:
                self.monitor.notify_all()

    def get_progress(self) -> float:
        """Return the share of frames that are done in this state, 0 to 1."""
        if not self.length:
            return 1.0
        return float(np.count_nonzero(self._progress == _DONE)) / self.length

    def has_free_frames(self) -> bool:
        """Return whether there are frames that are not being worked on."""
        return bool((self._progress == _FREE).any())

    def __repr__(self) -> str:
        name = SlotState(self.state).name if self.state in list(SlotState) else self.state
        return f"<{type(self).__name__} chunk {self.chunk}, {self.length} frames, {name}>"


class StateWarden:
    """Context manager for changing the state of a `ChunkSlot`.

    Frames are reserved when the warden is made. Inside the context they are
    worked on. When it ends well they are done, and with the last frames of
    the slot its state changes; when it ends with an exception, they are free
    again.

    Parameters
    ----------
    chunk_slot
        The slot.
    current_state, next_state
        State in which the slot must be, and that when all its frames are done.
    batch_size
        Largest number of frames to reserve; all if None.

    Attributes
    ----------
    batch_range : tuple of int
        Start and stop of the reserved frames; ``(0, 0)`` if there are none.
    batch_size : int
        Number of reserved frames.
    """

    def __init__(
        self,
        chunk_slot: ChunkSlotData,
        current_state: str,
        next_state: str,
        batch_size: int | None = None,
    ) -> None:
        self.chunk_slot = chunk_slot
        self.current_state = current_state
        self.next_state = next_state
        self.batch_range = chunk_slot.acquire_task_lock(current_state, batch_size)
        self.batch_size = self.batch_range[1] - self.batch_range[0]

    def __enter__(self) -> tuple[Any, tuple[int, int]]:
        if self.chunk_slot.state != self.current_state:
            self.chunk_slot.release_task_lock(*self.batch_range, task_done=False)
            raise ValueError(
                f"state '{self.chunk_slot.state}' of {self.chunk_slot!r} does not match "
                f"'{self.current_state}'"
            )
        return self.chunk_slot, self.batch_range

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        slot = self.chunk_slot
        with slot.monitor:
            slot.release_task_lock(*self.batch_range, task_done=exc_type is None)
            if exc_type is None and self.batch_size and slot.get_progress() == 1:
                slot.state = self.next_state

    def __repr__(self) -> str:
        start, stop = self.batch_range
        return (
            f"<{type(self).__name__} {self.current_state}->{self.next_state}, "
            f"frames {start}:{stop} of {self.chunk_slot!r}>"
        )
