"""From events in any order to a file in order of frames."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StageError
from ..run.rows import FrameRows
from .chunk_writer import ChunkWriter
from .disk import Sink
from .event_stash import EventStash, check_lengths, rows_of_frame
from .ledger import FRAMES, Checkpoint, Ledger

__all__ = ["QueueWriterBase", "QueueWriterThread"]

#: Bytes that may wait to be written.
_BYTE_BUDGET = 32 * 2**20
#: Seconds without any event, or without anything written, until it is an error.
_IDLE_LIMIT = 3600.0
#: Stored with the events; computed here.
_COUNTING = (FRAMES, "nevents")


class QueueWriterBase:
    """Takes events from a queue and writes them in order of their frames.

    Events are written in groups of `write_threshold` frames as soon as the
    next group is complete, so the file does not depend on the order of
    arrival. Besides the features, ``index_unmapped`` (uint32, the frame of
    each event) and ``nevents`` (int64, the number of events in that frame) are
    written. It ends when all frames have come, when None comes, or when
    something goes wrong.

    Parameters
    ----------
    event_queue
        Queue of `FrameRows`, or of tuples ``(frame, events)`` where events is
        a dict of arrays or None. Every frame must come once.
    write_queue_size
        Its ``value`` is set to the number of arrays that wait to be written.
    feat_nevents
        Number of events of each frame, -1 where it is not known yet. Its
        length is the number of frames.
    path_out
        Path of the output, or what was opened elsewhere, which is then not
        closed here.
    hdf5_dataset_kwargs
        Options for new datasets.
    write_threshold
        Number of frames that are written at a time.
    on_error
        Called once with the error if one occurs, from any thread.
    on_done
        Called when all has ended, well or not.
    byte_budget
        Bytes that may wait to be written; no more are accepted meanwhile.
    idle_limit
        Seconds without any event, or without anything written, until that is
        an error; None waits without end.
    ledger
        Where to begin, and when and where to note what is written.

    Attributes
    ----------
    error : Exception or None
        What went wrong.
    aborted : bool
        Whether the end was asked for before all frames had come.
    complete : bool
        Whether all frames have been written and the file is closed.
    written_events, written_frames : int
        What has been passed to the file; it is all there when `complete`.
    written_objects : numpy.ndarray
        What became of the objects of these frames: the sum of
        `FrameRows.objects`, int64 of shape (8,).
    """

    def __init__(
        self,
        event_queue: Any,
        write_queue_size: Any,
        feat_nevents: Sequence[int],
        path_out: Path | str | Sink,
        hdf5_dataset_kwargs: Mapping[str, Any] | None = None,
        write_threshold: int = 500,
        *,
        on_error: Callable[[Exception], None] | None = None,
        on_done: Callable[[], None] | None = None,
        byte_budget: int = _BYTE_BUDGET,
        idle_limit: float | None = _IDLE_LIMIT,
        ledger: Ledger | None = None,
    ) -> None:
        self.event_queue = event_queue
        self.write_queue_size = write_queue_size
        self.feat_nevents = feat_nevents
        self.path_out = path_out.path if isinstance(path_out, Sink) else Path(path_out)
        self.hdf5_dataset_kwargs = hdf5_dataset_kwargs
        self.write_threshold = max(1, int(write_threshold))
        self.byte_budget = byte_budget
        self.idle_limit = idle_limit
        self.error: Exception | None = None
        self.aborted = False
        self.complete = False
        begin = Checkpoint() if ledger is None else ledger.begin
        self.written_events = begin.events
        self.written_frames = begin.frames
        self.written_objects = np.array(begin.objects, np.int64)
        self._target = path_out
        self._ledger = ledger
        self._first = begin.frames
        self._on_error = on_error
        self._on_done = on_done
        self._error_lock = threading.Lock()
        self._must_end = False
        self._total = len(feat_nevents)
        self._came = np.zeros(self._total, dtype=bool)
        self._came[: begin.frames] = True
        self._pending: dict[int, list[FrameRows]] = {}
        self._next_group = begin.frames
        self._queued: deque[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = deque()
        self._chunk_writer: ChunkWriter | None = None

    def get_logger(self) -> logging.Logger:
        """Return the logger that is used if none is given."""
        return logging.getLogger("cytovox.write.QueueWriter")

    def abort(self) -> None:
        """Ask to end now; may be called from any thread."""
        self.aborted = True
        self._wake_up()

    def run(
        self,
        buffer_dq: deque[Any] | None = None,
        writer_dq: deque[Any] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        """Write until all frames have come; never raises, see `error`.

        Parameters
        ----------
        buffer_dq
            Items that have come already.
        writer_dq
            Deque between this and the `ChunkWriter`.
        logger
            Where to report.
        """
        logger = logger or self.get_logger()
        try:
            self._chunk_writer = self._start_chunk_writer(writer_dq, logger)
            self._collect(deque(buffer_dq or ()))
            self._finish(self._chunk_writer)
        except Exception as err:
            self._fail(err)
            logger.debug("the queue writer failed", exc_info=True)
        finally:
            try:
                self._end_chunk_writer()
            finally:
                if self._on_done is not None:
                    self._on_done()

    def _start_chunk_writer(self, dq: deque[Any] | None, logger: logging.Logger) -> ChunkWriter:
        chunk_writer = ChunkWriter(
            self._target,
            dq,
            self.write_queue_size,
            ds_kwds=self.hdf5_dataset_kwargs,
            parent_logger=logger,
            on_error=self._on_chunk_error,
            on_stored=self._on_stored,
            ledger=self._ledger,
        )
        chunk_writer.start()
        return chunk_writer

    def _collect(self, already: deque[Any]) -> None:
        """Take what comes, as long as something is missing and no stop is asked for."""
        while self._next_group < self._total and not self._must_end:
            item = already.popleft() if already else self._take()
            if item is None:
                self.aborted = True
                return
            if self._must_end:
                return
            self._accept(item)
            while self._next_group < self._total and self._is_ready(self._next_group):
                self._emit(self._next_group)
                self._next_group = self._group_stop(self._next_group)

    def _take(self) -> Any:
        try:
            return self.event_queue.get(timeout=self.idle_limit)
        except queue.Empty:
            frame = int(np.argmin(self._came))
            raise StageError(
                "write", f"no events came for {self.idle_limit:g} s", frame=frame
            ) from None

    def _accept(self, item: Any) -> None:
        """Keep the events of some frames with the groups that they belong to."""
        came = _as_rows(item)
        start, stop, counts = came.start, came.stop, came.counts
        if not len(counts):
            return
        if start < 0 or stop > self._total:
            raise StageError("write", f"there are only {self._total} frames", frame=stop - 1)
        if self._came[start:stop].any():
            raise StageError("write", "the events of a frame came twice", frame=start)
        self._came[start:stop] = True
        ends = np.concatenate([[0], np.cumsum(counts)])
        for group in self._groups(start, stop):
            low, high = max(start, group), min(stop, self._group_stop(group))
            begin, end = int(ends[low - start]), int(ends[high - start])
            whole = begin == 0 and end == ends[-1]
            rows = came.rows
            part = rows if whole else {feat: data[begin:end] for feat, data in rows.items()}
            frames = slice(low - start, high - start)
            self._pending.setdefault(group, []).append(
                FrameRows(low, counts[frames], part, came.objects[frames])
            )

    def _groups(self, start: int, stop: int) -> Iterator[int]:
        """Yield the first frame of each group that has some of these frames.

        Groups are the same wherever the writing has begun, but for the first.
        """
        step = self.write_threshold
        for group in range(start // step * step, stop, step):
            yield max(group, self._first)

    def _group_stop(self, group: int) -> int:
        step = self.write_threshold
        return (group // step + 1) * step

    def _is_ready(self, group: int) -> bool:
        return bool(self._came[group : self._group_stop(group)].all())

    def _emit(self, group: int) -> None:
        """Pass a complete group of frames to the writer."""
        parts = sorted(self._pending.pop(group), key=lambda part: part.start)
        counts = np.concatenate([part.counts for part in parts])
        announced = np.array(self.feat_nevents[group : group + len(counts)], dtype=np.int64)
        # it refuses others than were announced
        stash = EventStash(group, np.where(announced < 0, counts, announced))  # type: ignore[arg-type]
        for part in parts:
            stash.add_rows(part.start, part.counts, part.rows)
        objects = np.concatenate([part.objects for part in parts]).sum(axis=0)
        parts.clear()
        self._queued.append((counts, objects))
        rows = {feat: data for feat, data in stash.events.items() if feat not in _COUNTING}
        rows[FRAMES] = stash.indices_for_data
        rows["nevents"] = np.repeat(counts, counts)  # last: with it the group is in the file
        self._wait_for_room(self.byte_budget)
        if self._chunk_writer is not None:
            self._chunk_writer.put(rows)

    def _wait_for_room(self, nbytes: int) -> None:
        writer = self._chunk_writer
        if writer is not None and not writer.wait_for_room(nbytes, self.idle_limit):
            raise StageError(
                "write", f"nothing was written for {self.idle_limit:g} s", path=self.path_out
            )

    def _finish(self, chunk_writer: ChunkWriter) -> None:
        if self._must_end or self._next_group < self._total:
            return
        chunk_writer.finished_when_queue_empty()
        self._wait_for_room(0)
        chunk_writer.join(self.idle_limit)
        if chunk_writer.is_alive():
            raise StageError("write", "the file could not be closed in time", path=self.path_out)
        if chunk_writer.error is None and not self._must_end:
            self.complete = True

    def _end_chunk_writer(self) -> None:
        if self._chunk_writer is not None and not self.complete:
            self._chunk_writer.abort_loop()
            self._chunk_writer.join(self.idle_limit)
        self._pending.clear()

    def _on_stored(self, feat: str, number: int) -> None:
        if feat == "nevents":
            self.written_events += number
            counts, objects = self._queued.popleft()
            self.written_frames += len(counts)
            self.written_objects += objects
            if self._ledger is not None:
                self._note(self._ledger, counts)

    def _note(self, ledger: Ledger, counts: npt.NDArray[np.int64]) -> None:
        """Note what is written; the thread that writes does it."""
        ledger.count(counts)
        is_last = self.written_frames >= self._total
        if ledger.is_due(is_last=is_last):
            assert self._chunk_writer is not None
            rests = self._chunk_writer.settle()
            ledger.note(tuple(self.written_objects.tolist()), rests, is_last=is_last)

    def _on_chunk_error(self, error: Exception) -> None:
        self._fail(error)
        self._wake_up()

    def _fail(self, error: Exception) -> None:
        with self._error_lock:
            first = self.error is None
            if first:
                self.error = error
        self._must_end = True
        if first and self._on_error is not None:
            self._on_error(error)

    def _wake_up(self) -> None:
        """Let whatever waits here see that it is over."""
        self._must_end = True
        if self._chunk_writer is not None:
            self._chunk_writer.abort_loop()
        # where it is full or was closed, nothing waits for an item
        with contextlib.suppress(queue.Full, ValueError, OSError):
            self.event_queue.put_nowait(None)


class QueueWriterThread(QueueWriterBase, threading.Thread):
    """Writes events from a queue in order of their frames, in a thread.

    Takes the parameters of `QueueWriterBase`.

    Examples
    --------
    >>> import queue, tempfile
    >>> from pathlib import Path
    >>> import h5py
    >>> import numpy as np
    >>> events = queue.Queue()
    >>> events.put((1, {"deform": np.array([0.2, 0.3])}))
    >>> events.put((0, {"deform": np.array([0.1])}))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "out.rtdc"
    ...     writer = QueueWriterThread(events, None, [1, 2], path)
    ...     writer.start()
    ...     writer.join(10)
    ...     with h5py.File(path) as h5:
    ...         h5["events/deform"][:], h5["events/nevents"][:]
    (array([0.1, 0.2, 0.3]), array([1, 2, 2]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        threading.Thread.__init__(self, name="QueueWriter", daemon=True)
        QueueWriterBase.__init__(self, *args, **kwargs)


def _as_rows(item: Any) -> FrameRows:
    if isinstance(item, FrameRows):
        check_lengths(item.start, item.n_events, item.rows)
        return item
    return rows_of_frame(*item)
