"""The temporary files beside an output, and how one of them becomes the output."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..errors import (
    InputError,
    OutputBusyError,
    OutputError,
    OutputExistsError,
    StorageError,
    VerificationError,
)
from ..read.opening import OpenedFiles
from ..read.permissions import Permissions
from ..run.fingerprint import FileStamp
from ..run.journal import Journal, JournalContent, read_journal
from ..run.lock import OutputLock
from ..write.disk import DISK
from .verify import require_whole, verify_recording

__all__ = [
    "OUTPUTS",
    "TEMPORARY_FILES",
    "FolderState",
    "RunFolder",
    "new_output",
    "refuse_existing",
    "remove_files",
    "remove_leftovers",
    "require_unchanged",
    "sync_content",
    "verify_output",
]

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
#: A run that resumes copies what is done from one of these to the other. The ledger
#: names the one to which it belongs.
OUTPUTS = ("output", "second output")
#: Last line of the journal of a run that gets as far as that.
_PUBLISHING = "publishing"


class FolderState(StrEnum):
    """How far a run is with the temporary files beside its output."""

    FREE = "free"
    """The output is not locked, and nothing waits to be resumed."""
    LOCKED = "locked"
    """No other run may make the output; what a dead run has left is as it was."""
    BEGUN = "begun"
    """The journal describes this run."""
    TIDY = "tidy"
    """The output has its name; it stays locked until the log is removed."""
    KEPT = "kept"
    """The output is not locked; another run can resume what is left."""


class RunFolder:
    """The temporary files of a run, each of which it has made itself or inherited."""

    def __init__(self, path_out: Path, suffix: str | None = None) -> None:
        made_up = f"{platform.node()}_{uuid.uuid4().hex[:5]}"
        self.path_out = path_out
        self.suffix = made_up if suffix is None else suffix
        self.state = FolderState.FREE
        #: The journal's record of a background that is finished.
        self.background: Mapping[str, Any] | None = None
        self._lock = OutputLock(path_out, suffix, made_up)
        self._journal: Journal | None = None
        self._ours: set[Path] = set()

    def path(self, kind: str) -> Path:
        """Return the path of a file."""
        return _path(self.path_out, self.suffix, kind)

    def has(self, kind: str) -> bool:
        """Return whether a file is one of this run."""
        return self.path(kind) in self._ours

    def claim(self, kind: str) -> None:
        """Create an empty file that no other run has, so that it is ours to delete."""
        path = self.path(kind)
        try:
            with path.open("xb"):
                self._ours.add(path)
        except OSError as err:
            raise StorageError(
                f"the output cannot be made: {err.strerror or err}",
                path=path.parent,
                hint="is the folder there, writable and not full?",
            ) from err

    def own(self, *kinds: str) -> None:
        """Count files as those of this run, which are there or will be."""
        self._ours.update(map(self.path, kinds))

    def discard(self, *kinds: str) -> None:
        """Delete files as far as they are of this run."""
        for kind in kinds:
            path = self.path(kind)
            if path in self._ours:
                with contextlib.suppress(OSError):
                    DISK.remove(path)
                    self._ours.discard(path)

    def lock(self) -> None:
        """Make the folder and lock the output; the names of the files are final afterwards."""
        folder = self.path_out.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StorageError(
                f"the folder cannot be made: {err.strerror or err}", path=folder
            ) from err
        self._lock.acquire()
        self.suffix = self._lock.suffix
        self.state = FolderState.LOCKED

    def look(self) -> None:
        """Find what dead runs have left, without the lock; an error if a run makes the output."""
        self._lock.look()
        self.suffix = self._lock.suffix

    @property
    def left(self) -> tuple[str, ...]:
        """Texts in the names of files that dead runs have left."""
        return () if self._lock.left is None else self._lock.left.suffixes

    def left_journal(self) -> JournalContent:
        """Return the journal of the dead run of this name, if there is one."""
        try:
            return read_journal(self.path("journal"))
        except (OSError, ValueError):
            return JournalContent()

    def begin(self, fingerprint: Mapping[str, Any]) -> None:
        """Open the journal."""
        if not self.has("journal"):
            self.claim("journal")
        with contextlib.ExitStack() as stack:
            journal = stack.enter_context(Journal(self.path("journal"), guarded=True))
            journal.begin(fingerprint)
            self._journal, self._exit_journal = journal, stack.pop_all()
        self.state = FolderState.BEGUN

    def note(self, event: str, **more: Any) -> None:
        """Write a line into the journal of a run that has one."""
        if self._journal is not None:
            self._journal.note(event, **more)

    def publish(self, kind: str, *, replace: bool) -> None:
        """Give a finished file the name of the output, so that it outlives a power cut."""
        temporary, final = self.path(kind), self.path_out
        self.note(_PUBLISHING)
        try:
            sync_content(temporary)
            if replace:
                DISK.replace(temporary, final)
            else:
                DISK.rename_new(temporary, final)
            DISK.sync_folder(final.parent)
        except FileExistsError as err:
            raise OutputExistsError(
                "the output appeared while it was being made",
                path=final,
                hint="another run may have made it; nothing was replaced",
            ) from err
        except OSError as err:
            raise StorageError(f"the output cannot get its name: {err}", path=final) from err
        self._ours.discard(temporary)

    def has_ledger(self) -> bool:
        """Return whether some events can be resumed."""
        return self.has("ledger") and self.path("ledger").is_file()

    def tidy(self, *, but: Collection[str] = ()) -> None:
        """Remove what is of no use any more; the output stays locked until the end.

        As long as there is a log, the lock shows whose it is.
        """
        self._end_journal()
        self._discard_all(but)
        self.state = FolderState.TIDY

    def leave(
        self, *, keep: bool, but: Collection[str] = (), error: BaseException | None = None
    ) -> None:
        """Unlock the output; keep what another run can resume, or nothing but some files."""
        state = self.state
        if state in (FolderState.FREE, FolderState.KEPT):
            return
        is_done = state is FolderState.TIDY
        resumable = keep and not is_done and self._can_be_resumed()
        self._end_journal(error if resumable else None)
        if resumable and not self.has_ledger():
            self.discard(*OUTPUTS)
        elif not (resumable or (is_done and keep)):
            self._discard_all(but)
        # What a dead run has left must not lose its lock to a run that never began.
        untouched = state is FolderState.LOCKED and bool(self.left)
        self._lock.release(keep=resumable or untouched)
        self.state = FolderState.KEPT if resumable else FolderState.FREE

    def close(self, *, delete: bool) -> None:
        """Close all files; may be called again."""
        self.leave(keep=not delete)
        if delete and self.state is FolderState.KEPT:
            remove_leftovers(self.path_out)
            self._ours.clear()
            self.state = FolderState.FREE
        elif delete:
            self._discard_all()

    def _can_be_resumed(self) -> bool:
        return self.background is not None or self.has_ledger()

    def _end_journal(self, error: BaseException | None = None) -> None:
        if self._journal is None:
            return
        if error is not None:
            with contextlib.suppress(StorageError):
                self.note("stopped", error=f"{type(error).__name__}: {error}")
        self._exit_journal.close()
        self._journal = None

    def _discard_all(self, but: Collection[str] = ()) -> None:
        """Delete files of this run, the journal last, which describes the others."""
        kinds = [kind for kind in TEMPORARY_FILES if kind not in (*but, "journal")]
        self.discard(*kinds, "journal")


def sync_content(path: Path) -> None:
    """Wait until the content of a file would outlive a power cut."""
    file = DISK.open(path, "r+b")
    try:
        file.sync()
    finally:
        file.close()


def remove_leftovers(path_out: Path, *, only_published: bool = False) -> None:
    """Delete what dead runs have left beside an output."""
    lock = OutputLock(path_out)
    if not lock.path.is_file():
        return
    try:
        lock.acquire()
    except OutputError:
        return
    left = () if lock.left is None else lock.left.suffixes
    kept = [s for s in left if only_published and not _is_published(path_out, s)]
    for suffix in left:
        if suffix not in kept:
            remove_files(path_out, suffix)
    lock.release(keep=bool(kept))


def _is_published(path_out: Path, suffix: str) -> bool:
    """Return whether a dead run has given its output the final name.

    Without a journal no run can resume what is left, so that counts as well.
    """
    journal = _path(path_out, suffix, "journal")
    if not journal.exists():
        return True
    outputs = [_path(path_out, suffix, kind) for kind in OUTPUTS]
    try:
        notes = read_journal(journal).notes
        is_named = all(not path.exists() or path.samefile(path_out) for path in outputs)
    except OSError:
        return False
    return is_named and any(note.get("event") == _PUBLISHING for note in notes)


def remove_files(path_out: Path, suffix: str, but: str = "") -> None:
    """Delete the temporary files of a dead run, as far as they are there."""
    for kind in TEMPORARY_FILES:
        if kind != but:
            with contextlib.suppress(OSError):
                DISK.remove(_path(path_out, suffix, kind))


def _path(path_out: Path, suffix: str, kind: str) -> Path:
    what, ending = TEMPORARY_FILES[kind]
    return path_out.with_name(f"{path_out.stem}{what}{suffix}{ending}")


def refuse_existing(path: Path) -> None:
    """Raise an error if something has this name already."""
    if path.exists() or path.is_symlink():
        raise OutputExistsError(
            "the output exists already",
            path=path,
            hint="choose another name, or give --force (force=True) to replace it",
        ) from FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def verify_output(
    path: Path,
    events: int,
    permissions: Permissions | None = None,
    opened: OpenedFiles | None = None,
) -> None:
    """Read a finished file back and check that nothing is missing or changed.

    Lengths, header, checksums of all that is stored, and what it refers to.
    """
    try:
        found = verify_recording(path, events=events, permissions=permissions, opened=opened)
        require_whole(found)
    except (InputError, OSError) as err:
        raise StorageError(f"the output cannot be read back: {err}", path=path) from err
    except VerificationError as err:
        err.hint = "the output was not published; run again"
        raise


def require_unchanged(stamps: Sequence[FileStamp], *, may_grow: bool = False) -> None:
    """Raise an error if a file has changed since it was opened."""
    for stamp in stamps:
        change = stamp.change(may_grow=may_grow)
        if change is not None:
            raise InputError(
                f"the input has changed while it was read: {change}",
                path=stamp.path,
                hint="nothing was published; run again when no other program writes to it",
            )


@contextlib.contextmanager
def new_output(
    path: Path,
    inputs: Sequence[Path],
    events: int,
    *,
    force: bool = False,
    permissions: Permissions | None = None,
) -> Iterator[Path]:
    """Yield the temporary file of an output that is made in one go, without a journal.

    It gets its name when it was verified and the inputs are as they were.
    """
    path = path.absolute()
    if not force:
        refuse_existing(path)
    stamps = [FileStamp.of(one) for one in inputs]
    folder = RunFolder(path)
    folder.lock()
    try:
        if folder.left:
            raise OutputBusyError(
                "a run that was stopped has left what another one can resume",
                path=path,
                hint="finish it with the command that began it, or choose another name",
            )
        if not force:  # it may have come while another run held the lock
            refuse_existing(path)
        folder.claim("output")
        yield folder.path("output")
        verify_output(folder.path("output"), events, permissions)
        require_unchanged(stamps)
        folder.publish("output", replace=force)
    finally:
        folder.leave(keep=False)
