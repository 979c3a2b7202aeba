"""One run on an output: its journal, its passes over blocks, and how the output gets its name.

Labels of volumes and of regions, other arrays, and labels over time are made by it. They
differ in their passes only.
"""

from __future__ import annotations

import contextlib
import operator
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy.typing as npt

from ..errors import OptionError, OutputExistsError, StorageError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from ..read.volume_address import parse_address
from ..run.journal import BlockKey, Journal
from ..run.progress import Listener
from ..write.volume_creation import create_labels
from ..write.volume_metadata import enter_label, refresh_consolidated
from .block_result import RunResult
from .checks import (
    as_told,
    is_as_published,
    is_as_written,
    note_files,
    refuse_changed_input,
    refuse_damaged,
    take_back,
)
from .grid import Box, Grid
from .placement import Placement
from .recipe import output_path, side_folder
from .volume_blocks import forget_volumes

__all__ = ["BlockRun", "Layout", "make_folder", "publish", "says"]

#: Whether a block need not be done.
Check = Callable[[Any], bool]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a run makes: its shape, where it is, and what is written at once."""

    shape: tuple[int, ...]
    block: tuple[int, ...]
    voxel_size: tuple[float, ...]
    units: str
    offset: tuple[float, ...]
    axes: tuple[str, ...] | None = None
    create: Callable[..., Volume] = create_labels

    @classmethod
    def of(cls, volume: Volume, block: tuple[int, ...], **more: Any) -> Self:
        """Return that of what lies where a volume does."""
        given = {"shape": volume.spatial_shape, "offset": volume.offset, **more}
        return cls(block=block, voxel_size=volume.voxel_size, units=volume.units, **given)

    def made(self, path: Path, dtype: npt.DTypeLike, format: str) -> Volume:
        """Make it empty, instead of what is there and perhaps was made in part only."""
        shutil.rmtree(path, ignore_errors=True)
        return self.create(
            path,
            shape=self.shape,
            dtype=dtype,
            axes=self.axes,
            voxel_size=self.voxel_size,
            units=self.units,
            offset=self.offset,
            block=self.block,
            format=format,
        )


class BlockRun:
    """A run that makes one output, and what lies beside the output."""

    def __init__(
        self,
        output: str | os.PathLike[str],
        placement: Placement,
        on_event: Listener | None = None,
        *,
        verify: bool = False,
        force: bool = False,
        making: str = "final",
    ) -> None:
        self.folder = side_folder(output)
        self.output = output_path(output)
        #: Where the output is made, under the name that it bears in the end.
        self.making = self.folder / making / self.output.name
        #: Tells what the output was made by.
        self.mark = self.folder / "published.json"
        self.logs = self.folder / "logs"
        self.placement = placement
        self.on_event = on_event
        self.verify = verify
        self.force = force
        self.journal = Journal(self.folder / "journal.jsonl")
        #: Of the volumes that blocks done in this process have opened.
        self.stamps: list[int | str] = []

    def refuse_stranger(self) -> None:
        """Refuse an output that no run of ours has made."""
        if self.output.exists() and not self.journal.path.is_file():
            raise OutputExistsError(
                "the output exists and was not made here",
                path=self.output,
                hint="choose another name",
            )

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Hold the journal, keep workers, and close what blocks done here have opened."""
        placement = self.placement
        with self.journal:
            try:
                with placement.kept(self.logs) as self.placement:
                    yield
            finally:
                self.placement = placement
                forget_volumes(self.stamps)

    def begin(self, fingerprint: Mapping[str, Any], resume: bool) -> None:
        """Refuse to go on with what was made differently; if not `resume`, begin anew."""
        self.journal.begin(
            fingerprint, on_change="refuse" if resume else "recompute", resume=resume
        )

    def new_stamp(self) -> int:
        """Return what tells volumes of one name apart that were made one after the other."""
        self.stamps.append(stamp := time.time_ns())
        return stamp

    def do(self, blocks: Iterable[Any], work: Any, stage: str, **more: Any) -> RunResult:
        """Do those blocks of a pass that are not done."""
        given = {"journal": self.journal, "on_event": self.on_event, "logs": self.logs, **more}
        return self.placement.run(blocks, work, stage, **given)

    def reading(
        self,
        volume: Volume,
        reopen: Callable[[], Volume],
        stage: str,
        do: Callable[[Check], _Result],
        is_done: Check,
        key: Callable[[Any], BlockKey] = operator.attrgetter("index"),
    ) -> _Result:
        """Do a pass that reads the input; refuse what it did if the input changed meanwhile.

        The journal names a block by its `key`.
        """
        before = volume.stamp()
        kept: set[BlockKey] = set()

        def check(block: Any) -> bool:
            if found := is_done(block):
                kept.add(key(block))
            return found

        done = do(check)
        if done.done:  # type: ignore[attr-defined]
            refuse_changed_input(before, reopen, self.journal, stage, kept)
        return done

    def make(
        self,
        stage: str,
        blocks: Grid,
        layout: Layout,
        dtype: npt.DTypeLike,
        format: str,
        do: Callable[[Check], _Result],
        told: str | None = None,
    ) -> _Result | None:
        """Do the pass that writes the output; None if the output is there and as it was.

        `do` is given what tells whether a block is as it was written. What the output is made
        by is `told`, if the journal does not tell it.
        """
        if self._is_there(stage, len(blocks), told):
            if self.is_as_told(stage, blocks):
                return None
            refuse_damaged(self.output, self.on_event, force=self.force)
            self.mark.unlink(missing_ok=True)
            take_back(self.output, self.making, layout.shape, dtype)
        if not self.journal.completed(stage) or not self.making.exists():
            self.journal.forget(stage)
            self.make_empty(layout, dtype, format)
        records = self.journal.records(stage)
        with open_volume(self.making) as made:
            return do(lambda block: is_as_written(made, block, records[block.index].result))

    def make_empty(self, layout: Layout, dtype: npt.DTypeLike, format: str) -> None:
        """Make the output without voxels, where it is made; an error names the output itself."""
        try:
            layout.made(self.making, dtype, format).close()
        except OptionError as err:
            err.path = str(self.output)
            raise

    def _is_there(self, stage: str, blocks: int, told: str | None) -> bool:
        if told is not None:
            return self.output.exists() and says(self.mark, told)
        is_done = len(self.journal.completed(stage)) == blocks
        return is_done and self.output.exists() and not self.making.exists()

    def is_as_told(self, stage: str, blocks: Grid) -> bool:
        """Return whether a finished output is as the journal tells."""
        same = as_told(blocks, self.journal.records(stage))
        return self.is_as_made((block.write for block in blocks), same)

    def is_as_made(
        self, boxes: Iterable[Box], is_same: Callable[[Box, npt.NDArray[Any]], bool]
    ) -> bool:
        """Return whether a finished output is as it was when it got its name."""
        return is_as_published(self.output, self.journal, boxes, is_same, thorough=self.verify)

    def publish(self, told: str | None = None) -> None:
        """Give what was made its name."""
        forget_volumes(self.stamps)
        self.mark.unlink(missing_ok=True)
        publish(self.making, self.output, self.folder / "replaced", self.journal)
        if told is not None:
            self.mark.write_text(told, encoding="utf-8")


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


def says(path: Path, text: str) -> bool:
    """Return whether a file is there and holds just this."""
    return path.is_file() and path.read_bytes() == text.encode()


def make_folder(path: Path) -> None:
    """Make a folder, and those around it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StorageError(f"the folder cannot be made: {err.strerror or err}", path=path) from err
