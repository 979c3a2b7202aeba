"""Workers of a segmenter that takes one image at a time: processes or a thread."""

from __future__ import annotations

import contextlib
import pickle
import threading
import traceback
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..run.children import settle_child, start_child
from ..run.monitor import mp_spawn
from .shared_frames import BatchView, OpenSlot

if TYPE_CHECKING:
    from .segmenter_mpo import MPOSegmenter

__all__ = [
    "MPOSegmenterWorker",
    "MPOSegmenterWorkerProcess",
    "MPOSegmenterWorkerThread",
    "SharedFlag",
]


class SharedFlag:
    """An event that processes share without a lock that one could take to its grave.

    One process sets it, the others look.

    Examples
    --------
    >>> flag = SharedFlag()
    >>> flag.set()
    >>> flag.is_set()
    True
    """

    def __init__(self) -> None:
        self._value = mp_spawn.RawValue("b", 0)

    def set(self) -> None:
        """Raise the flag."""
        self._value.value = 1

    def clear(self) -> None:
        """Lower the flag."""
        self._value.value = 0

    def is_set(self) -> bool:
        """Return whether the flag is raised."""
        return bool(self._value.value)


class MPOSegmenterWorker:
    """Segments frames as it is told; to be combined with a process or a thread.

    Parameters
    ----------
    segmenter
        The segmenter.
    sl_start, sl_stop
        Range of frames in a slot of full length. What is to be done is told
        with each piece of work, since the last chunk is shorter.

    Attributes
    ----------
    slot_list : list
        The slots of the segmenter.
    mp_slot_index, mp_active, mp_num_workers_done, mp_shutdown
        Those of the segmenter, see there.
    mp_frame
        Shared number of the frame that this worker is at, -1 at first.
    """

    def __init__(
        self, segmenter: MPOSegmenter, sl_start: int, sl_stop: int, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.segmenter: Any = segmenter
        self.slot_list: Any = segmenter.slot_list
        self.mp_slot_index = segmenter.mp_slot_index
        self.mp_active = segmenter.mp_active
        self.mp_num_workers_done = segmenter.mp_num_workers_done
        self.mp_shutdown = segmenter.mp_shutdown
        self.mp_frame = mp_spawn.RawValue("q", -1)
        self.sl_start = sl_start
        self.sl_stop = sl_stop
        self.pipe: Any = None
        self._link: Any = None
        self._shared: list[Any] = segmenter.mp_slots
        self._batch = segmenter.mp_batch
        self._ticket = segmenter.mp_ticket
        self._open: dict[int, OpenSlot] = {}

    def run(self) -> None:
        """Do what comes through the pipe until nobody is at its other end.

        A worker that was not started, and thus has no pipe, does its range
        of the present slot once.
        """
        if self._link is None:
            self._run_once()
            return
        with contextlib.suppress(EOFError, OSError), self._link as link:
            self._prepare(link)
            while True:
                ticket, index, start, stop, view = link.recv()
                link.send(self._work(ticket, index, start, stop, view))

    def _run_once(self) -> None:
        index = int(self.mp_slot_index.value)
        if index >= 0:
            slot = self._slot(index, None)
            for frame in range(self.sl_start, min(self.sl_stop, slot.length)):
                slot.mask[frame] = self._segment(slot, frame)

    def _prepare(self, link: Connection) -> None:
        link.send(("ready", 0))

    def _work(
        self, ticket: int, index: int, start: int, stop: int, view: BatchView | None
    ) -> tuple[Any, ...]:
        """Segment a range of frames; return what to answer."""
        frame = start
        try:
            slot = self._slot(index, view)
            for frame in range(start, stop):
                self.mp_frame.value = frame
                if not self._wanted(ticket):
                    return "stopped", ticket
                mask = self._segment(slot, frame)
                if self._wanted(ticket):  # else the slot may be someone else's by now
                    slot.mask[frame] = mask
        except (Exception, SystemExit) as err:  # noqa: BLE001 - it reaches the caller
            summary = traceback.format_exception_only(err)[-1].strip()
            return "failed", ticket, frame, summary, traceback.format_exc(), _pickled(err)
        return "done", ticket

    def _wanted(self, ticket: int) -> bool:
        return bool(self._ticket.value == ticket and not self.mp_shutdown.value)

    def _slot(self, index: int, view: BatchView | None) -> OpenSlot:
        if view is not None:
            assert self._batch is not None
            return self._batch.open(view)
        if index not in self._open:
            self._open[index] = self._shared[index].open()
        return self._open[index]

    def _segment(self, slot: OpenSlot, frame: int) -> npt.NDArray[np.bool_]:
        images, offset = self.segmenter.input_of(slot, frame, frame + 1)
        # A copy, for an algorithm may change its image, and all others see the slot.
        mask: npt.NDArray[np.bool_] = self.segmenter.segment_single(
            images[0].copy(), None if offset is None else float(offset[0])
        )
        return mask

    def waitables(self) -> list[Any]:
        """Return what becomes ready when the worker answers or ends."""
        return [self.pipe]

    def hang_up(self) -> None:
        """Say that there will be no more work."""
        if self.pipe is not None:
            self.pipe.close()


def _pickled(err: BaseException) -> bytes:
    try:
        return pickle.dumps(err)
    except Exception:  # noqa: BLE001 - then its text must do
        return b""


class MPOSegmenterWorkerProcess(MPOSegmenterWorker, SpawnProcess):
    """A worker in a process of its own, which dies with its parent.

    Parameters
    ----------
    segmenter, sl_start, sl_stop
        See `MPOSegmenterWorker`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.daemon = True
        self._load: bytes = b""

    def __getstate__(self) -> dict[str, Any]:
        # The slots are left behind, but for what of them is shared. The
        # segmenter is sent as bytes, so that the child can tell why it cannot
        # load it.
        return {**self.__dict__, "segmenter": None, "slot_list": [], "pipe": None, "_open": {}}

    def start(self) -> None:
        """Start the child process.

        Raises
        ------
        UsageError
            If the segmenter cannot be sent to another process.
        """
        try:
            self._load = pickle.dumps(self.segmenter)
        except Exception as err:
            raise UsageError(
                f"segmenter {self.segmenter.get_ppid_code()} cannot be sent to a worker "
                f"process: {err}",
                hint="define its class at the top level of a module, or use debug",
            ) from err
        self.pipe, self._link = mp_spawn.Pipe()
        load, self._load = self._load, b""
        try:
            start_child(super().start)
        finally:
            self._link.close()
        with contextlib.suppress(OSError):  # it is dead, as will be noticed
            self.pipe.send_bytes(load)

    def run(self) -> None:
        """Do what comes through the pipe until nobody is at its other end."""
        if self._link is not None:
            settle_child()
        super().run()

    def _prepare(self, link: Connection) -> None:
        load = link.recv_bytes()
        try:
            self.segmenter = pickle.loads(load)
        except Exception:  # noqa: BLE001 - it reaches the caller
            link.send(("unfit", 0, self.name, traceback.format_exc()))
            raise EOFError from None
        self.slot_list = self._shared
        super()._prepare(link)

    def waitables(self) -> list[Any]:
        """Return what becomes ready when the process answers or ends."""
        return [self.pipe, self.sentinel]

    def end(self, seconds: float) -> None:
        """Wait for the end of the process, then make it end.

        Parameters
        ----------
        seconds
            How long to wait.
        """
        self.join(seconds)
        for force in (self.terminate, self.kill):
            if self.is_alive():
                force()
                self.join(1)

    def fate(self) -> tuple[str, int | None]:
        """Return name and number of the process, and its exit code."""
        return f"{self.name} (process {self.pid})", self.exitcode


class MPOSegmenterWorkerThread(MPOSegmenterWorker, threading.Thread):
    """A worker in a thread of this process, which a debugger can follow.

    Parameters
    ----------
    segmenter, sl_start, sl_stop
        See `MPOSegmenterWorker`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.daemon = True

    def start(self) -> None:
        """Start the thread."""
        self.pipe, self._link = mp_spawn.Pipe()
        super().start()

    def end(self, seconds: float) -> None:
        """Wait for the end of the thread, which cannot be forced.

        Parameters
        ----------
        seconds
            How long to wait.
        """
        self.join(seconds)

    def fate(self) -> tuple[str, int | None]:
        """Return the name of the thread."""
        return f"{self.name} (thread)", None
