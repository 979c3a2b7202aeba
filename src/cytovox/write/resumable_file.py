"""A file that can be gone on with after its writer was killed.

HDF5 changes what it has written before, so a file whose writer is killed
cannot be read. But all its writes come through the object below. What is added
at the end goes to the file at once. What would change bytes of the last
checkpoint stays in memory, and is written to a log before it is written to the
file. So at any time file and log together make up the state of a checkpoint.

After a *kill* that is the last checkpoint. After a *power cut*, where the disk
may have kept later writes and lost earlier ones, it is the last durable
checkpoint or a later one whose data are all there, as their checksum tells.
"""

from __future__ import annotations

import errno
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .disk import DISK, Disk, DiskFile
from .extents import Extents
from .redo_log import RedoKind, RedoRecord, encode_record, read_records
from .sink import Sink

__all__ = ["ResumableFile"]

#: The log is begun anew when it has become longer than this [bytes].
_LOG_BYTES = 16 << 20
#: So much is read at a time for a checksum.
_BLOCK = 1 << 20


class ResumableFile(Sink):
    """Binary file for the file-object driver of h5py, with checkpoints."""

    def __init__(
        self, path: Path, log: Path, mode: str = "x+b", *, disk: Disk | None = None
    ) -> None:
        super().__init__(path, mode, disk=disk)
        self.log = log
        #: What the last checkpoint said besides.
        self.extra = b""
        self._floor = 0
        self._over = Extents()
        self._records = 0
        self._log_size = 0
        self._log_file: DiskFile | None = None
        self._is_named = False
        self._is_closed = False
        self._lock = threading.RLock()

    @classmethod
    def recover(cls, path: Path, log: Path, *, disk: Disk | None = None) -> ResumableFile | None:
        """Open a file whose writer has ended somehow, as it was at a checkpoint."""
        disk = disk or DISK
        if not (path.is_file() and log.is_file()):
            return None
        records = list(read_records(log.read_bytes()))
        if not records:
            return None
        file = cls(path, log, "r+b", disk=disk)
        try:
            last = file._last_state(records)  # noqa: SLF001 - it is ours
            if not records[last].extra:
                file.close()
                return None
            file._restore(records[: last + 1])  # noqa: SLF001
        except BaseException:
            file.close()
            raise
        return file

    def _last_state(self, records: Sequence[RedoRecord]) -> int:
        """Return the number of the last record of which everything is there."""
        durable = [i for i, record in enumerate(records) if record.kind != RedoKind.SOFT]
        last = durable[-1] if durable else 0
        for index in range(last + 1, len(records)):
            record = records[index]
            if self._checksum(record.floor, record.end) != record.data_check:
                break
            last = index
        return last

    def _restore(self, records: Sequence[RedoRecord]) -> None:
        """Make the file what the last of some records says."""
        state = records[-1]
        self._end, self.extra = state.end, state.extra
        self._file.sync()
        # From here on the file is changed, and what is added need not fit any more.
        self._log_file = self._disk.open(self.log, "r+b")
        self._log_file.truncate(state.stop)
        self._records, self._log_size = len(records), state.stop
        self._append(RedoRecord(RedoKind.DURABLE, state.end, state.end, 0, [], state.extra))
        self._log_file.sync()
        for record in records:
            for place, content in record.pieces:
                _write_all(self._file, place, content)
        self._begin_log()

    def close(self) -> None:
        """Close file and log; what was not committed is lost."""
        with self._lock:
            # Should somebody still write or read, that goes nowhere.
            self._is_closed = True
            self.error = self.error or OSError(errno.EBADF, "the file is closed")
            self._over.clear()
            if self._log_file is not None:
                try:
                    self._log_file.close()
                except OSError as err:
                    self.error = self.error or err
                self._log_file = None
            super().close()

    def _set_length(self, size: int) -> None:
        with self._lock:
            gone = min(self._end, self._floor) - size
            if gone > 0:  # should it grow again, these bytes are zero
                self._over.write(size, memoryview(bytes(gone)))
            self._file.truncate(max(size, self._floor))

    def _write(self, view: memoryview) -> int:
        with self._lock:
            below = min(len(view), max(0, self._floor - self._position))
            if not below:
                return super()._write(view)
            self._over.write(self._position, view[:below])
            self._position += below
            try:
                return below + super()._write(view[below:])
            finally:
                self._position -= below

    def _read(self, view: memoryview) -> None:
        with self._lock:
            if self._is_closed:
                view[:] = bytes(len(view))
                return
            super()._read(view)
            self._over.lay_over(self._position, view)

    def checkpoint(self, extra: bytes, *, durable: bool = False) -> None:
        """Note the present state as one to which to return.

        Whoever writes here must have flushed what they keep themselves.
        """
        with self._lock:
            if self.error is not None:
                raise self.error
            try:
                self._note(extra, durable)
                if durable and max(self._log_size, self._over.nbytes) > _LOG_BYTES:
                    self._apply()
            except OSError as err:
                self.error = err
                raise

    def commit(self, extra: bytes) -> None:
        """Note the present state for good; then the file is complete by itself."""
        with self._lock:
            if self.error is not None:
                raise self.error
            if not self._records:  # nothing was ever held back
                return
            try:
                self._note(extra, durable=True)
                self._apply()
            except OSError as err:
                self.error = err
                raise

    def _note(self, extra: bytes, durable: bool) -> None:
        if self._log_file is None:
            self.extra = b""
            self._begin_log(0, wait=durable)
        assert self._log_file is not None
        if durable:
            self._file.sync()
            check = 0
        else:
            check = self._checksum(self._floor, self._end)
        kind = RedoKind.DURABLE if durable else RedoKind.SOFT
        pieces = self._over.take_new()
        self._append(RedoRecord(kind, self._end, self._floor, check, pieces, extra))
        if durable:
            self._log_file.sync()
            if not self._is_named:
                self._disk.sync_folder(self.log.parent)
                self._is_named = True
        self.extra = extra
        self._floor = max(self._floor, self._end)

    def _append(self, record: RedoRecord) -> None:
        assert self._log_file is not None
        content = encode_record(record, self._records)
        _write_all(self._log_file, self._log_size, content)
        self._log_size += len(content)
        self._records += 1

    def _apply(self) -> None:
        """Write to the file what was held back; it is in the log."""
        for place, content in self._over:
            _write_all(self._file, place, content)
        self._begin_log()

    def _begin_log(self, end: int | None = None, *, wait: bool = True) -> None:
        """Let a new log begin with the state of the file, at once."""
        if end is None:
            end = self._end
            self._file.truncate(end)
            self._file.sync()
        if self._log_file is not None:
            self._log_file.close()
            self._log_file = None
        fresh = self.log.with_name(f"{self.log.name}~")
        self._log_file = self._disk.open(fresh, "w+b")
        self._records = self._log_size = 0
        self._append(RedoRecord(RedoKind.BASE, end, end, 0, [], self.extra))
        if wait:
            self._log_file.sync()
        # Windows renames no open files.
        self._log_file.close()
        self._log_file = None
        self._disk.replace(fresh, self.log)
        if wait:
            self._disk.sync_folder(self.log.parent)
        self._is_named = wait
        self._log_file = self._disk.open(self.log, "r+b")
        self._floor = end
        self._over.clear()

    def _checksum(self, start: int, stop: int) -> int:
        """Return the CRC-32 of bytes of the file itself; none are zeros."""
        check = 0
        buffer = bytearray(min(_BLOCK, max(0, stop - start)))
        while start < stop:
            view = memoryview(buffer)[: min(len(buffer), stop - start)]
            done = self._file.read_into(start, view)
            view[done:] = bytes(len(view) - done)
            check = zlib.crc32(view, check)
            start += len(view)
        return check


def _write_all(file: DiskFile, place: int, content: Any) -> None:
    view = memoryview(content).cast("B")
    done = 0
    while done < len(view):
        done += file.write_at(place + done, view[done:])
