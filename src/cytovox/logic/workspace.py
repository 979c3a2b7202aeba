"""The files of a run beside its output: taken, inherited from a dead run, given up."""

from __future__ import annotations

import contextlib
import platform
import uuid
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import OutputBusyError, OutputError, OutputExistsError, StorageError
from ..run.fingerprint import differences
from ..run.journal import Journal, read_journal
from ..run.journal_content import JournalContent
from ..run.lock import OutputLock
from ..run.room import MARGIN, Need, check_need
from ..write.disk import DISK
from ..write.ledger import Checkpoint, Ledger, Record, read_ledger
from ..write.salvage import bytes_to_copy, complete_checkpoint, salvage
from ..write.sink import Sink
from ..write.storage import storage_error, storage_errors

__all__ = ["TEMPORARY_FILES", "Workspace", "checksum_of", "remove_leftovers"]

#: What the name of an output without its ending is followed by, for each kind
#: of temporary file; the text of the run comes in between.
TEMPORARY_FILES = {
    "input": ("_input_bb_", ".rtdc~"),
    "output": ("_output_", ".rtdc~"),
    "second output": ("_output2_", ".rtdc~"),
    "ledger": ("_output_", ".ledger"),
    "new ledger": ("_output_", ".ledger~"),
    # of earlier versions; they are only removed
    "redo": ("_output_", ".redo"),
    "new redo": ("_output_", ".redo~"),
    "journal": ("_journal_", ".jsonl"),
    "log": ("_", ".log"),
}
#: A run that goes on copies what is done from one of these to the other. The ledger
#: names the one to which it belongs.
_OUTPUTS = ("output", "second output")
#: Seconds between two checkpoints, and between two that outlive a power cut.
#: Each takes some milliseconds: about as much as is done again after a kill.
_SECONDS = 0.1
_DURABLE_SECONDS = 2.0
_BLOCK = 1 << 20
_ELSEWHERE = "choose a folder on another disk, where the run begins anew"
#: Last line of the journal of a run that gets as far as that.
_PUBLISHING = "publishing"


class Workspace:
    """Temporary files of a run, of which it has made each itself or inherited it."""

    def __init__(self, path_out: Path, suffix: str | None = None) -> None:
        made_up = f"{platform.node()}_{uuid.uuid4().hex[:5]}"
        self.path_out = path_out
        self.suffix = made_up if suffix is None else suffix
        self.is_kept = False
        self._is_tidy = False
        self.checkpoint: Checkpoint | None = None
        self.store: Sink | None = None
        self.ledger: Ledger | None = None
        self._output = _OUTPUTS[0]
        self._lock = OutputLock(path_out, suffix, made_up)
        self._journal: Journal | None = None
        self._background: Mapping[str, Any] | None = None
        self._ours: set[Path] = set()

    def path(self, kind: str) -> Path:
        """Return the path of a file."""
        return _path(self.path_out, self.suffix, kind)

    @property
    def output(self) -> Path:
        """Path of the temporary output."""
        return self.path(self._output)

    @property
    def is_entered(self) -> bool:
        """Whether the output is locked for this run."""
        return self._lock.is_held

    def has(self, path: Path) -> bool:
        """Return whether a file is one of this run."""
        return path in self._ours

    def claim(self, path: Path) -> None:
        """Create an empty file that nobody else has, so that it is ours to delete."""
        try:
            with path.open("xb"):
                self._ours.add(path)
        except OSError as err:
            raise StorageError(
                f"the output cannot be made: {err.strerror or err}",
                path=path.parent,
                hint="is the folder there, writable and not full?",
            ) from err

    def discard(self, path: Path) -> None:
        """Delete a file if it is one of this run."""
        if path in self._ours:
            with contextlib.suppress(OSError):
                DISK.remove(path)
                self._ours.discard(path)

    def let_go(self, path: Path) -> None:
        """Take a file as no longer temporary."""
        self._ours.discard(path)

    def lock(self) -> None:
        """Lock the output; the names of the files are final afterwards."""
        self._lock.acquire()
        self.suffix = self._lock.suffix

    def enter(self, fingerprint: Mapping[str, Any], *, force: bool = False) -> list[str]:
        """Find out what a dead run has left, and begin or go on."""
        left = () if self._lock.left is None else self._lock.left.suffixes
        if self.suffix in left and not force:
            self._refuse_other_settings(fingerprint)
        for suffix in left:
            if suffix != self.suffix:
                _remove_all(self.path_out, suffix)
        changes: list[str] = []
        if self.suffix in left:
            changes = self._inherit(fingerprint)
        path = self.path("journal")
        if path not in self._ours:
            self.claim(path)
        with contextlib.ExitStack() as stack:
            journal = stack.enter_context(Journal(path, guarded=True))
            journal.begin(fingerprint)
            self._journal, self._exit_journal = journal, stack.pop_all()
        return changes

    def _left_journal(self) -> JournalContent:
        try:
            return read_journal(self.path("journal"))
        except (OSError, ValueError):
            return JournalContent()

    def _refuse_other_settings(self, fingerprint: Mapping[str, Any]) -> None:
        """Raise an error if a dead run could be resumed with the settings that it had."""
        content = self._left_journal()
        has_background = any(note.get("event") == "background" for note in content.notes)
        if content.fingerprint is None or not (has_background or self.path("ledger").is_file()):
            return
        changes = differences(content.fingerprint, fingerprint)
        if changes and all(change.startswith("recipe") for change in changes):
            raise OutputExistsError(
                f"a run that was stopped had other settings: {'; '.join(changes)}",
                path=self.path_out,
                hint="give its settings to resume it, --force to give it up, or another output",
            )

    def _inherit(self, fingerprint: Mapping[str, Any]) -> list[str]:
        """Take over the files of a dead run, or delete them."""
        content = self._left_journal()
        old = content.fingerprint
        changes = [] if old is None else differences(old, fingerprint)
        if old is None or changes:
            _remove_all(self.path_out, self.suffix, but="log")
        else:
            self._background = next(
                (n for n in reversed(content.notes) if n.get("event") == "background"), None
            )
        for kind in TEMPORARY_FILES:
            path = self.path(kind)
            if path.is_file() and kind != "log":
                self._ours.add(path)
        if self._background is None:  # then nobody knows whether it was finished
            self.discard(self.path("input"))
        return changes

    def kept_background(self) -> Mapping[str, Any] | None:
        """Return what the journal tells of a background that is still there and whole."""
        told, path = self._background, self.path("input")
        if told is None or path not in self._ours:
            self.discard(path)
            return None
        if (told.get("size"), told.get("crc32")) == checksum_of(path):
            return told
        self.discard(path)
        return None

    def keep_background(self, **more: Any) -> None:
        """Note that the background is done, so that it need not be done again."""
        if self._journal is None:
            return
        path = self.path("input")
        try:
            file = DISK.open(path, "r+b")
            try:
                file.sync()
            finally:
                file.close()
        except OSError as err:
            raise storage_error(err, path) from err
        size, crc32 = checksum_of(path)
        self._background = {"size": size, "crc32": crc32, **more}
        self._journal.note("background", **self._background)

    def recover(
        self, ds_kwds: Mapping[str, Any], on_chunk: Callable[[], None], *, preflight: bool
    ) -> bool:
        """Bring what a dead run has done into a new file; return False if that fits nowhere."""
        records, kept = self._left_ledger()
        if kept is None or self.path(kept) not in self._ours:
            self.begin_output()
            return not records
        self._output = kept
        self.checkpoint = complete_checkpoint(records, self.output)
        if self.checkpoint is None:
            if preflight:  # for the copy
                need = Need(int(bytes_to_copy(records) / MARGIN), 0, 0, _ELSEWHERE)
                check_need(need, self.path_out.parent)
            self.checkpoint = self._salvage(records, ds_kwds, on_chunk)
        if self.checkpoint is None:
            self.begin_output()
            return False
        self.discard(self.path(_other(self._output)))
        return True

    def _salvage(
        self, records: Sequence[Record], ds_kwds: Mapping[str, Any], on_chunk: Callable[[], None]
    ) -> Checkpoint | None:
        """Copy what is done from one temporary output to the other."""
        torn, self._output = self.output, _other(self._output)
        try:
            with storage_errors(self.output):
                return salvage(records, torn, self._open_new_output(), ds_kwds, on_chunk)
        except BaseException:
            self._close_store()
            _, kept = self._left_ledger()
            self._output = kept or self._output
            self.discard(self.path(_other(self._output)))
            raise

    def _left_ledger(self) -> tuple[list[Record], str | None]:
        """Return the records of the ledger, and which of the temporary outputs it names."""
        path = self.path("ledger")
        records = read_ledger(path) if path in self._ours else []
        names = {self.path(kind).name: kind for kind in _OUTPUTS}
        return records, names.get(records[0].file) if records else None

    def begin_output(self) -> None:
        """Let the temporary output be empty, whatever was there."""
        self._close_store()
        self.checkpoint = None
        self._output = _OUTPUTS[0]
        for kind in (*_OUTPUTS, "ledger", "new ledger"):
            self.discard(self.path(kind))

    def open_output(self) -> Ledger | None:
        """Open the temporary output for the events; None if it cannot be gone on with."""
        if self._journal is None:
            self.claim(self.output)
        elif self.store is None:
            return self._open_new_output()
        return self.ledger

    def _open_new_output(self) -> Ledger:
        self.discard(self.output)
        self.claim(self.output)
        self._ours |= {self.path("ledger"), self.path("new ledger")}
        self.store = Sink(self.output, "r+b")
        self.ledger = Ledger(
            self.path("ledger"),
            self.store,
            seconds=_SECONDS,
            durable_seconds=_DURABLE_SECONDS,
            on_durable=self._note_checkpoint,
        )
        return self.ledger

    def _note_checkpoint(self, frames: int, events: int) -> None:
        assert self._journal is not None
        self._journal.note("checkpoint", frames=frames, events=events)

    def complete_output(self, frames: int, events: int, objects: tuple[int, ...]) -> None:
        """Note that the temporary output is a complete file."""
        if self.ledger is not None:
            with storage_errors(self.output):
                self.ledger.complete(frames, events, objects)
        self._close_store()

    def begin_publishing(self) -> None:
        """Note that the temporary output now gets the final name."""
        if self._journal is not None:
            self._journal.note(_PUBLISHING)

    def _close_store(self) -> None:
        for opened in (self.ledger, self.store):
            if opened is not None:
                opened.close()
        self.ledger = self.store = None

    def _has_checkpoints(self) -> bool:
        path = self.path("ledger")
        return path in self._ours and path.is_file()

    def tidy(self, *, but: Collection[str] = ()) -> None:
        """Remove what is of no use any more; the output stays locked until `close`.

        As long as there is a log, the lock tells whose it is.
        """
        self._leave(keep=False, but=but)
        self._is_tidy = True

    def leave(
        self, *, keep: bool, but: Collection[str] = (), error: BaseException | None = None
    ) -> None:
        """Give the output free; files of some kinds stay until `close` even if nothing is kept."""
        if not self.is_entered:
            return
        # What a dead run has left must not lose its lock to one that never began.
        began = self._is_tidy or self._journal is not None or self._lock.left is None
        if not self._is_tidy:
            self._leave(keep=keep, but=but, error=error)
        elif not keep:
            self._discard_all()
        self._lock.release(keep=self.is_kept or not began)

    def _leave(
        self, *, keep: bool, but: Collection[str], error: BaseException | None = None
    ) -> None:
        keep = keep and (self._background is not None or self._has_checkpoints())
        self._close_store()
        if self._journal is not None:
            if error is not None and keep:
                with contextlib.suppress(StorageError):
                    self._journal.note("stopped", error=f"{type(error).__name__}: {error}")
            self._exit_journal.close()
            self._journal = None
        if not keep:
            self._discard_all(but)
        elif not self._has_checkpoints():
            self.discard(self.output)
        self.is_kept = keep

    def _discard_all(self, but: Collection[str] = ()) -> None:
        """Delete files of this run, the journal last, which tells of the others."""
        journal = self.path("journal")
        gone = self._ours.difference(map(self.path, but))
        for path in sorted(gone, key=lambda path: (path == journal, path)):
            self.discard(path)

    def close(self, *, delete: bool) -> None:
        """Let go of all files; may be called again."""
        self.leave(keep=not delete)
        if not delete:
            return
        if self.is_kept:
            self.is_kept = False
            remove_leftovers(self.path_out)
            self._ours.clear()
        self._discard_all()


def _other(output: str) -> str:
    return next(kind for kind in _OUTPUTS if kind != output)


def remove_leftovers(path_out: Path, *, only_published: bool = False) -> None:
    """Delete what dead runs have left beside an output."""
    lock = OutputLock(path_out)
    if not lock.path.is_file():
        return
    try:
        lock.acquire()
    except (OutputBusyError, OutputError, StorageError):
        return
    left = () if lock.left is None else lock.left.suffixes
    kept = [s for s in left if only_published and not _is_published(path_out, s)]
    for suffix in left:
        if suffix not in kept:
            _remove_all(path_out, suffix)
    lock.release(keep=bool(kept))


def _is_published(path_out: Path, suffix: str) -> bool:
    """Return whether a dead run has given its output the final name.

    Without a journal no run goes on with what is left, so it is as good as that.
    """
    journal = _path(path_out, suffix, "journal")
    if not journal.exists():
        return True
    outputs = [_path(path_out, suffix, kind) for kind in _OUTPUTS]
    try:
        notes = read_journal(journal).notes
        is_named = all(not path.exists() or path.samefile(path_out) for path in outputs)
    except OSError:
        return False
    return is_named and any(note.get("event") == _PUBLISHING for note in notes)


def checksum_of(path: Path) -> tuple[int, str]:
    """Return size and CRC-32 of a file."""
    check = size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            check, size = zlib.crc32(block, check), size + len(block)
    return size, f"{check:08x}"


def _path(path_out: Path, suffix: str, kind: str) -> Path:
    what, ending = TEMPORARY_FILES[kind]
    return path_out.with_name(f"{path_out.stem}{what}{suffix}{ending}")


def _remove_all(path_out: Path, suffix: str, but: str = "") -> None:
    for kind in TEMPORARY_FILES:
        if kind != but:
            with contextlib.suppress(OSError):
                DISK.remove(_path(path_out, suffix, kind))
