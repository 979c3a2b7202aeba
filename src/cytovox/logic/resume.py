"""Resuming a run of the same job that was stopped: what is taken over, what is refused.

The temporary output has a ledger, with which another run can resume it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import (
    CytovoxError,
    InterruptedRunError,
    OutputExistsError,
    StageError,
    StorageError,
)
from ..read import HDF5Data, get_measurement_identifier
from ..run.fingerprint import FileStamp, differences
from ..run.folder_room import MARGIN, Need, check_need
from ..write.disk import Sink, storage_errors
from ..write.ledger import (
    Checkpoint,
    Ledger,
    Record,
    bytes_to_copy,
    complete_checkpoint,
    read_ledger,
    salvage,
)
from .job import DCNumPipelineJob
from .record import version_of
from .run_folder import OUTPUTS, TEMPORARY_FILES, FolderState, RunFolder, remove_files

__all__ = [
    "ResumableOutput",
    "fingerprint_of",
    "frames_to_resume",
    "is_damage",
    "is_resumable",
    "take_over",
]

#: Seconds between two checkpoints, and between two that outlive a power cut.
#: Each takes some milliseconds: about as much as is done again after a kill.
_SECONDS = 0.1
_DURABLE_SECONDS = 5.0
_ELSEWHERE = "choose a folder on another disk, where the run starts again"


def is_resumable(error: BaseException) -> bool:
    """Return whether the same command may succeed after this error.

    That is so if the run was stopped from outside, if the storage was full, or
    if a worker was lost; not if the input or the options are wrong.
    """
    if isinstance(error, StageError):
        return error.stage == "worker"
    if isinstance(error, CytovoxError):
        return isinstance(error, (InterruptedRunError, StorageError))
    return isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError, OSError))


def is_damage(error: BaseException) -> bool:
    """Return whether a file is damaged, as far as an error shows.

    HDF5 reports an inconsistent file in the same way as a failing disk, but
    then the system gives no reason.
    """
    cause = error.__cause__
    if not isinstance(error, StorageError) or error.errno is not None:
        return False
    return (
        isinstance(cause, (OSError, RuntimeError, KeyError))
        and getattr(cause, "errno", None) is None
    )


def fingerprint_of(
    job: DCNumPipelineJob, data: HDF5Data, ids: Mapping[str, str]
) -> dict[str, Any]:
    """Return all that decides about the bytes of the output."""
    path = Path(job["path_in"]).absolute()
    others = {str(other): _marks(other) for other in data.files()[1:]}
    return {
        "input": {
            "path": str(path),
            **_marks(path),
            "identifier": get_measurement_identifier(data.h5),
            "frames": len(data),
            **({"files": others} if others else {}),
        },
        "recipe": {
            **{name.removesuffix("_id"): text for name, text in ids.items()},
            "segmenter file": job.segmenter_source(),
            "basins": job["basin_strategy"],
            "compression": job["compression"],
        },
        "version": {name: version_of(name) for name in ("h5py", "numpy", "zstandard")}
        | {"cytovox": __version__},
    }


def _marks(path: Path) -> dict[str, Any]:
    """Return the properties of a file that must be the same when another run resumes."""
    stamp = FileStamp.of(path)
    return {"size": stamp.size, "mtime_ns": stamp.mtime_ns, "content": stamp.content}


def take_over(folder: RunFolder, fingerprint: Mapping[str, Any], *, force: bool) -> list[str]:
    """Take over what dead runs have left in a locked folder, or remove it, and begin.

    Returns what has changed, so that their run cannot be resumed.
    """
    changes: list[str] = []
    is_left = folder.suffix in folder.left
    if is_left and not force:
        _refuse_other_settings(folder, fingerprint)
    for suffix in folder.left:
        if suffix != folder.suffix:
            remove_files(folder.path_out, suffix)
    if is_left:
        changes = _inherit(folder, fingerprint)
    folder.begin(fingerprint)
    return changes


def _refuse_other_settings(folder: RunFolder, fingerprint: Mapping[str, Any]) -> None:
    """Raise an error if a dead run could be resumed with the settings that it had."""
    content = folder.left_journal()
    has_background = any(note.get("event") == "background" for note in content.notes)
    if content.fingerprint is None or not (has_background or folder.path("ledger").is_file()):
        return
    changes = differences(content.fingerprint, fingerprint)
    if changes and all(change.startswith("recipe") for change in changes):
        raise OutputExistsError(
            f"a run that was stopped had other settings: {'; '.join(changes)}",
            path=folder.path_out,
            hint="give its settings to resume it, --force to give it up, or another output",
        )


def _inherit(folder: RunFolder, fingerprint: Mapping[str, Any]) -> list[str]:
    """Take over the files of a dead run, or delete them."""
    content = folder.left_journal()
    old = content.fingerprint
    changes = [] if old is None else differences(old, fingerprint)
    if old is None or changes:
        remove_files(folder.path_out, folder.suffix, but="log")
    else:
        notes = (note for note in reversed(content.notes) if note.get("event") == "background")
        folder.background = next(notes, None)
    folder.own(*(k for k in TEMPORARY_FILES if k != "log" and folder.path(k).is_file()))
    if folder.background is None:  # then it is unknown whether it was finished
        folder.discard("input")
    return changes


def frames_to_resume(
    folder: RunFolder, fingerprint: Mapping[str, Any], *, force: bool
) -> tuple[int | None, list[str]]:
    """Return how many frames a dead run has done, None if no run can be resumed, and why not.

    The folder has been looked at; nothing in it is changed.
    """
    if folder.suffix not in folder.left:
        return None, []
    if not force:
        _refuse_other_settings(folder, fingerprint)
    content = folder.left_journal()
    if content.fingerprint is None:
        return None, []
    if changes := differences(content.fingerprint, fingerprint):
        return None, changes
    records = read_ledger(folder.path("ledger"))
    has_background = any(note.get("event") == "background" for note in content.notes)
    if not (records or has_background):
        return None, []
    return (records[-1].frames if records else 0), []


class ResumableOutput:
    """The temporary output in a folder, as it was left or as it is made."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._sink: Sink | None = None
        self.kind = OUTPUTS[0]
        self.ledger: Ledger | None = None
        #: Where another run was stopped.
        self.checkpoint: Checkpoint | None = None

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self._folder.path(self.kind)

    @property
    def target(self) -> Sink | Path:
        """What writers open."""
        return self._sink or self.path

    def recover(
        self, ds_kwds: Mapping[str, Any], on_chunk: Callable[[], None], *, preflight: bool
    ) -> bool:
        """Copy what a dead run has done into a new file; return False if it cannot be used."""
        records, left = self._left_records()
        if left is None or not self._folder.has(left):
            self.begin_anew()
            return not records
        self.kind = left
        self.checkpoint = complete_checkpoint(records, self.path)
        if self.checkpoint is None:
            if preflight:  # for the copy
                need = Need(int(bytes_to_copy(records) / MARGIN), 0, 0, _ELSEWHERE)
                check_need(need, self.path.parent)
            self.checkpoint = self._copy(records, ds_kwds, on_chunk)
        if self.checkpoint is None:
            self.begin_anew()
            return False
        self._folder.discard(_other(self.kind))
        return True

    def _copy(
        self, records: Sequence[Record], ds_kwds: Mapping[str, Any], on_chunk: Callable[[], None]
    ) -> Checkpoint | None:
        """Copy what is done from one temporary output to the other."""
        torn, self.kind = self.path, _other(self.kind)
        try:
            with storage_errors(self.path):
                return salvage(records, torn, self._open_new(), ds_kwds, on_chunk)
        except BaseException:
            self.close()
            _, left = self._left_records()
            self.kind = left or self.kind
            self._folder.discard(_other(self.kind))
            raise

    def _left_records(self) -> tuple[list[Record], str | None]:
        """Return the records of the ledger, and which of the temporary outputs it names."""
        records = read_ledger(self._folder.path("ledger")) if self._folder.has("ledger") else []
        names = {self._folder.path(kind).name: kind for kind in OUTPUTS}
        return records, names.get(records[0].file) if records else None

    def begin_anew(self) -> None:
        """Let the output be empty, whatever was there."""
        self.close()
        self.checkpoint = None
        self.kind = OUTPUTS[0]
        self._folder.discard(*OUTPUTS, "ledger", "new ledger")

    def open(self) -> Ledger | None:
        """Open the output for events; there is no ledger if the run has no journal."""
        if self._folder.state is not FolderState.BEGUN:
            self._folder.claim(self.kind)
        elif self._sink is None:
            return self._open_new()
        return self.ledger

    def _open_new(self) -> Ledger:
        self._folder.discard(self.kind)
        self._folder.claim(self.kind)
        self._folder.own("ledger", "new ledger")
        self._sink = Sink(self.path, "r+b")
        self.ledger = Ledger(
            self._folder.path("ledger"),
            self._sink,
            seconds=_SECONDS,
            durable_seconds=_DURABLE_SECONDS,
            on_durable=self._note_checkpoint,
        )
        return self.ledger

    def _note_checkpoint(self, frames: int, events: int) -> None:
        self._folder.note("checkpoint", frames=frames, events=events)

    def complete(self, frames: int, events: int, objects: tuple[int, ...]) -> None:
        """Note that the output is a complete file."""
        if self.ledger is not None:
            with storage_errors(self.path):
                self.ledger.complete(frames, events, objects)
        self.close()

    def close(self) -> None:
        """Close the file and its ledger; may be called again."""
        for opened in (self.ledger, self._sink):
            if opened is not None:
                opened.close()
        self.ledger = self._sink = None


def _other(output: str) -> str:
    return next(kind for kind in OUTPUTS if kind != output)
