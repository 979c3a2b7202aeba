"""What happens to blocks, as values to which anyone may listen, and what became of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..read.event_table import to_frame
from ..read.notebook import as_html, volume_picture
from ..read.open_volume import open_volume
from ..run.journal import BlockKey
from ..run.progress import ProgressEvent
from .lookup import SeamReport
from .object_table import read_objects

__all__ = [
    "BlockDone",
    "BlockFailed",
    "BlockFailure",
    "BlockStarted",
    "RunResult",
    "VolumeResult",
    "WorkerLost",
]


@dataclass(frozen=True, slots=True)
class BlockStarted(ProgressEvent):
    """A worker begins with a block."""

    stage: str
    block: BlockKey
    attempt: int
    """1 for the first."""
    worker: str = ""


@dataclass(frozen=True, slots=True)
class BlockDone(ProgressEvent):
    """A block is done; of `total` blocks, `done` are, with those done before."""

    stage: str
    block: BlockKey
    seconds: float
    peak_bytes: int | None
    done: int
    failed: int
    total: int


@dataclass(frozen=True, slots=True)
class BlockFailed(ProgressEvent):
    """An attempt at a block has failed; the block is given up if `final`."""

    stage: str
    block: BlockKey
    error: str
    traceback: str
    attempt: int
    final: bool
    exception: Exception | None = field(default=None, repr=False, compare=False)
    """What was raised; None if nobody knows."""


@dataclass(frozen=True, slots=True)
class WorkerLost(ProgressEvent):
    """A worker has ended without being asked to."""

    worker: str
    how: str
    block: BlockKey | None
    """What it was working on, if anything."""


@dataclass(frozen=True, slots=True)
class BlockFailure:
    """A block that was given up.

    Parameters
    ----------
    block
        Its index or position.
    reason
        ``"error"``, ``"timeout"`` or ``"killed"``, of the last attempt.
    error
        What happened, in one line.
    traceback
        Where it happened, as text; empty if nobody knows.
    attempts
        How often it was tried in this run.
    exception
        What was raised, with its traceback in the worker as its cause; None if
        nobody knows.
    time
        The point in time, if the volume has several.
    """

    block: BlockKey
    reason: str
    error: str
    traceback: str
    attempts: int
    exception: Exception | None = field(default=None, repr=False, compare=False)
    time: int | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a stage went; true only if each of its blocks is done."""

    stage: str
    total: int
    done: int  # in this run
    skipped: int  # which were done before
    failed: tuple[BlockFailure, ...]  # given up, in the order of their index
    rows: dict[BlockKey, dict[str, Any]] = field(repr=False)  # what each block returned
    seconds: float

    def __bool__(self) -> bool:
        return self.done + self.skipped == self.total

    @property
    def untried(self) -> int:
        """Number of blocks that were not begun, since those from all over had failed."""
        return self.total - self.done - self.skipped - len(self.failed)


@dataclass(frozen=True, slots=True)
class VolumeResult:
    """What a run on a volume has come to; true only if every voxel was done.

    Parameters
    ----------
    output
        The labels, if they are complete.
    objects
        Number of objects.
    table
        File of the table of objects, if there is one.
    blocks
        Number of blocks.
    failed
        Blocks that could not be done.
    untried
        Number of blocks that were not begun, since blocks from all over the
        volume had failed and none had worked.
    report
        How well labels fit together at the seams.
    seconds
        How long it took.
    was_finished
        Whether it was finished before, so that nothing was done.
    """

    output: str | None
    objects: int = 0
    table: Path | None = None
    blocks: int = 0
    failed: tuple[BlockFailure, ...] = ()
    report: SeamReport | None = field(default=None, repr=False)
    seconds: float = 0.0
    untried: int = 0
    was_finished: bool = False

    def __bool__(self) -> bool:
        return self.output is not None and not self.failed

    def to_pandas(self) -> Any:
        """Return the table of objects as one of pandas, with its units in ``attrs``.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        UsageError
            If pandas is not installed, or there is no table (``.parquet``).
        """
        if self.table is None or self.table.suffix.lower() != ".parquet":
            hint = "cytovox volume objects makes one (.parquet)"
            raise UsageError("there is no table of objects", path=self.table, hint=hint)
        objects, _ = read_objects(self.table)
        return to_frame(objects.columns, objects.units, {})

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        failed = f"{len(self.failed)} failed" if self.failed else "all done"
        rows = [
            ("objects", self.objects),
            ("blocks", f"{self.blocks}, {failed}"),
            ("table", self.table),
            ("seconds", f"{self.seconds:.1f}"),
        ]
        return as_html(f"labels {self.output or 'are not complete'}", rows, self._pictures)

    def _pictures(self) -> list[npt.NDArray[np.uint8]]:
        if self.output is None:
            return []
        with open_volume(self.output) as labels:
            return [volume_picture(labels)]
