"""Where the blocks of a volume are done, and what came of them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import OutputExistsError, StorageError
from ..read.volume_address import parse_address
from ..run.journal import Journal
from ..run.unit_worker import UnitLimits
from ..write.volume_metadata import enter_label, refresh_consolidated
from .block_result import BlockFailure, RunResult
from .lookup import SeamReport
from .published import note_files
from .run_blocks import WorkerPool, run_blocks

__all__ = ["Placement", "VolumeResult", "publish", "refuse_stranger"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where blocks are done, and how patiently; see `cytovox.blockwise.run_blocks`."""

    workers: int | None = None
    cluster: Any = None
    host: str | None = None
    timeout: float | None = None
    retries: int = 2
    memory: int | None = None

    #: Workers that live on; if None, each call of `run` has workers of its own.
    pool: WorkerPool | None = None

    def run(
        self, blocks: Iterable[Any], function: Callable[[Any], Any], stage: str, **more: Any
    ) -> RunResult:
        """Do blocks there."""
        names = (field.name for field in dataclasses.fields(self))
        told = {name: getattr(self, name) for name in names}
        return run_blocks(blocks, function, stage=stage, **told, **more)

    @contextlib.contextmanager
    def kept(self, logs: Path) -> Iterator[Placement]:
        """Yield the same with workers that live on until the end, and print to files in `logs`."""
        limits = UnitLimits(self.timeout, self.memory)
        with WorkerPool(self.workers, self.cluster, self.host, limits, logs) as pool:
            yield dataclasses.replace(self, pool=pool)


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


def refuse_stranger(output: Path, folder: Path) -> None:
    """Refuse an output that no run of ours has made."""
    if output.exists() and not (folder / "journal.jsonl").is_file():
        raise OutputExistsError(
            "the output exists and was not made here", path=output, hint="choose another name"
        )


def publish(made: Path, output: Path, old: Path, journal: Journal) -> None:
    """Give a volume its place instead of that of an earlier run; list labels in their image."""
    try:
        shutil.rmtree(old, ignore_errors=True)
        if output.exists():
            os.replace(output, old)
        output.parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, output)
    except OSError as err:
        raise StorageError(f"it cannot get its name: {err}", path=output) from err
    enter_label(output)
    refresh_consolidated(parse_address(output))
    note_files(output, journal)
    shutil.rmtree(old, ignore_errors=True)
