"""The temporary output of a run, and the ledger with which another run can resume it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from .run_folder import OUTPUTS, RunFolder
from .states import FolderState

__all__ = ["ResumableOutput"]

#: Seconds between two checkpoints, and between two that outlive a power cut.
#: Each takes some milliseconds: about as much as is done again after a kill.
_SECONDS = 0.1
_DURABLE_SECONDS = 2.0
_ELSEWHERE = "choose a folder on another disk, where the run starts again"


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
