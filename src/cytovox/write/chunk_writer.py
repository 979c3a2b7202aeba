"""Writing data in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError
from ..run.memory import cpu_count
from .disk import Sink, storage_error
from .ledger import Ledger
from .packing import PackedDataset, as_items, can_pack, fit_items, write_chunk
from .writer import HDF5Writer

__all__ = ["ChunkWriter"]

#: Seconds between two looks at the deque of somebody else.
_LOOK = 0.05
#: Arrays that are taken at once: those of some frames.
_AT_ONCE = 64


class ChunkWriter(threading.Thread):
    """Writes arrays that are appended to a deque; ends when asked to.

    Parameters
    ----------
    path_out
        Path of the output, or what was opened elsewhere, which is then not
        closed here.
    dq
        Items ``(feature, array)``, which is looked at several times a second;
        None if only `put` adds items, which wakes this thread.
    write_queue_size
        Its ``value`` is set to the number of items that wait.
    ds_kwds
        Options for new datasets.
    mode
        How to open a path; ``"w"`` starts anew.
    parent_logger
        Logger below which this thread reports.
    on_error
        Called once with the error if one occurs.
    on_stored
        Called with feature and number of rows after they were written.
    pack_threads
        Number of threads that compress images; that of the usable cores if
        None.
    ledger
        Where chunks are noted, and where to begin.

    Attributes
    ----------
    writer : HDF5Writer
        Writes the output.
    may_stop_loop, must_stop_loop : bool
        Whether to end when nothing waits, and whether to end now.
    error : Exception or None
        What went wrong; a `StorageError` if the storage refused.
    """

    def __init__(
        self,
        path_out: Path | str | h5py.File | Sink,
        dq: deque[Any] | None,
        write_queue_size: Any,
        ds_kwds: Mapping[str, Any] | None = None,
        mode: str = "a",
        parent_logger: logging.Logger | None = None,
        *args: Any,
        on_error: Callable[[Exception], None] | None = None,
        on_stored: Callable[[str, int], None] | None = None,
        pack_threads: int | None = None,
        ledger: Ledger | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "ChunkWriter")
        kwargs.setdefault("daemon", True)
        super().__init__(*args, **kwargs)
        parent = parent_logger or logging.getLogger(__name__)
        self.logger = parent.getChild("ChunkWriter") if parent_logger else parent
        self.writer = HDF5Writer(path_out, mode=mode, ds_kwds=ds_kwds)
        self.dq: deque[Any] = deque() if dq is None else dq
        self.may_stop_loop = False
        self.must_stop_loop = False
        self.write_queue_size = write_queue_size
        self.error: Exception | None = None
        self._on_error = on_error
        self._on_stored = on_stored
        self._packed: dict[str, PackedDataset] = {}
        self._ledger = ledger
        self._pack_threads = cpu_count() if pack_threads is None else pack_threads
        #: Notified when something came, went, or ended.
        self._condition = threading.Condition()
        self._look = None if dq is None else _LOOK
        self._has_ended = False
        #: Bytes of the arrays that wait or are being written.
        self.nbytes = 0

    def put(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add arrays to what waits, unless nothing is taken any more.

        Parameters
        ----------
        rows
            Arrays of shape (n, ...) by feature.
        """
        with self._condition:
            if not self._has_ended:
                self.dq.extend(rows.items())
                self.nbytes += sum(data.nbytes for data in rows.values())
                self._condition.notify_all()

    def wait_for_room(self, nbytes: int, timeout: float | None) -> bool:
        """Wait until no more bytes wait, or until this has ended; return False if it was too long.

        Parameters
        ----------
        nbytes
            So many may wait.
        timeout
            Limit [s]; None for none.
        """
        with self._condition:
            return self._condition.wait_for(
                lambda: self._has_ended or self.nbytes <= nbytes, timeout
            )

    def abort_loop(self) -> None:
        """End now, whatever waits."""
        with self._condition:
            self.must_stop_loop = True
        self._end()

    def finished_when_queue_empty(self) -> None:
        """End when everything that waits has been written."""
        with self._condition:
            self.may_stop_loop = True
            self._condition.notify_all()

    def settle(self) -> dict[str, npt.NDArray[Any]]:
        """Write all whole chunks, and return the rows of others.

        To be called by this thread only, that is by `on_stored`.

        Returns
        -------
        dict of ndarray
            Rows of shape (n, ...) by feature.
        """
        with self.writer.guard():
            return {feat: packed.settle() for feat, packed in self._packed.items()}

    def run(self) -> None:
        """Write until asked to end; never raises, see `error`."""
        try:
            with self.writer, ThreadPoolExecutor(self._pack_threads, "cytovox-pack") as pool:
                try:
                    self._write_with(pool)
                except Exception as err:  # noqa: BLE001 - it reaches those that wait
                    self._fail(err)  # before the file is closed, which may take long
                    pool.shutdown(wait=False, cancel_futures=True)
        except Exception as err:
            self._fail(err)
        finally:
            self._end()

    def _end(self) -> None:
        """Note that nothing is taken any more; what waits is released."""
        with self._condition:
            self._has_ended = True
            self.nbytes = 0
            if self._look is None:
                self.dq.clear()
            self._condition.notify_all()

    def _write_with(self, pool: ThreadPoolExecutor) -> None:
        if self._ledger is not None:
            for feat, rest in self._ledger.begin.rests.items():
                self._pack(feat, self.writer.events[feat], pool).append(rest)
        while items := self._next():
            with self.writer.guard():
                for feat, data in items:
                    self._store(feat, data, pool)
            with self._condition:
                written = sum(np.asarray(data).nbytes for _, data in items)
                self.nbytes = max(0, self.nbytes - written)
                self._condition.notify_all()
            items.clear()  # or they would stay in memory until there are others
        if not self.must_stop_loop:
            with self.writer.guard():
                for packed in self._packed.values():
                    packed.fill_up()
                for packed in self._packed.values():
                    packed.settle()

    def _next(self) -> list[tuple[str, npt.NDArray[Any]]]:
        """Return some of what waits, in order; nothing at the end."""
        with self._condition:
            while not self.must_stop_loop:
                if self.write_queue_size is not None:
                    self.write_queue_size.value = len(self.dq)
                if self.dq:
                    return [self.dq.popleft() for _ in range(min(len(self.dq), _AT_ONCE))]
                if self.may_stop_loop:
                    break
                self._condition.wait(self._look)
        return []

    def _store(self, feat: str, data: npt.NDArray[Any], pool: ThreadPoolExecutor) -> None:
        if feat not in self._packed and can_pack(self.writer.ds_kwds):
            items = as_items(feat, data)
            dataset, length = self.writer.require_feature(feat, items.shape[1:], items.dtype)
            if not length:
                self._pack(feat, dataset, pool)
        packed = self._packed.get(feat)
        if packed is None:  # also if another writer has begun, and ended within a chunk
            self.writer.store_feature_chunk(feat, data)
        else:
            packed.append(fit_items(feat, as_items(feat, data), packed.dtype, packed.item_shape))
        if self._on_stored is not None:
            self._on_stored(feat, len(data))

    def _pack(self, feat: str, dataset: h5py.Dataset, pool: ThreadPoolExecutor) -> PackedDataset:
        ledger = self._ledger
        write = write_chunk if ledger is None else partial(ledger.write_chunk, feat)
        waiting = 2 * self._pack_threads
        packed = PackedDataset(dataset, self.writer.ds_kwds, pool, waiting, write)
        self._packed[feat] = packed
        return packed

    def _fail(self, err: Exception) -> None:
        if self.error is not None:  # that the file cannot be closed either is not news
            return
        if isinstance(err, OSError) and not isinstance(err, CytovoxError):
            err = storage_error(err, self.writer.path)
        self.must_stop_loop = True
        self.error = err
        self.logger.error("cannot write: %s", err)
        self._end()
        if self._on_error is not None:
            self._on_error(err)
