"""What is done with one block of a volume, in whatever process.

Both passes are values that can be sent to a worker: they hold names of files,
not open files. What they open stays open for the next block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import InputError, InputNotFoundError
from ..kernels.relabel import relabel
from ..read.volume_view import VolumeView
from .checks import checksum
from .evidence import Measures, segment_block
from .evidence_file import EvidenceFolder, StitchMode
from .grid import Block, Grid
from .kept_open import close_kept, keep_open
from .lookup import Lookup, load_lookup
from .threads import may_use_threads

__all__ = [
    "DamagedLabelsError",
    "RelabelPass",
    "SegmentPass",
    "forget_volumes",
]


@functools.lru_cache(maxsize=1)
def _lookup(folder: str, stamp: int | str) -> Lookup:
    return load_lookup(folder)


@functools.lru_cache(maxsize=1)
def _evidence(folder: str, stamp: int | str) -> EvidenceFolder:
    return EvidenceFolder(f"{folder}/blocks", indexed=True)


def forget_volumes(stamps: Collection[int | str] | None = None) -> None:
    """Let go of what blocks that were done in this process have opened."""
    close_kept(stamps)
    _lookup.cache_clear()
    _evidence.cache_clear()


@dataclass(frozen=True, slots=True)
class SegmentPass:
    """Segment a block: labels of its own, and evidence for its neighbours."""

    input: str
    view: VolumeView | None
    fill_value: float
    labels: str  # volume that takes the labels of the blocks
    folder: str  # takes their evidence
    grid: Grid
    function: Callable[..., Any]
    parameters: Mapping[str, Any]
    stitch: StitchMode
    connectivity: int | None
    measures: Measures | None
    stamp: int | str = 0  # tells volumes of one name apart that were made one after the other
    begin: tuple[int, ...] | None = None  # voxel where the grid begins; the first one if None

    @property
    def uses_threads(self) -> bool:
        """Whether threads of one process may do it."""
        return may_use_threads(self.function)

    def __call__(self, block: Block) -> dict[str, Any]:
        """Do it; return the number of labels."""
        array = self.read(block)
        result = segment_block(
            array,
            block,
            self.function,
            self.parameters,
            self.grid,
            stitch=self.stitch,
            connectivity=self.connectivity,
            measure=self.measures,
        )
        keep_open(self.labels, None, 0, True, self.stamp).write(block.write, result.labels)
        # The evidence comes last: where it is, the labels are as well.
        EvidenceFolder(self.folder).add(result.evidence, result.sums, checksum(result.labels))
        return {"labels": result.evidence.count, "voxels": int(np.sum(result.evidence.sizes))}

    def read(self, block: Block) -> npt.NDArray[Any]:
        """Read a block with its context and all channels."""
        volume = keep_open(self.input, self.view, self.fill_value, False, self.stamp)
        begin = self.begin or (0,) * len(block.read)
        box = tuple((a + at, b + at) for (a, b), at in zip(block.read, begin, strict=True))
        return volume.read(box)


@dataclass(frozen=True, slots=True)
class RelabelPass:
    """Give the labels of a block their final numbers."""

    labels: str
    output: str
    folder: str  # that of the table
    stamp: int | str
    tells_damage: bool = False  # damaged labels are not an error, but what is returned

    #: It reads, looks up and writes, all of which lets others work.
    uses_threads: ClassVar[bool] = True

    def __call__(self, block: Block) -> dict[str, Any]:
        """Do it; return the number of voxels that have a label, and the checksum."""
        try:
            labels = self.read(block)
        except DamagedLabelsError as err:
            if self.tells_damage:
                return {"damaged": err.what}
            raise
        table = _lookup(self.folder, self.stamp).slice(block.index)
        final = relabel(labels, table)
        keep_open(self.output, None, 0, True, self.stamp).write(block.write, final)
        return {"voxels": int(np.count_nonzero(final)), "written": checksum(final)}

    def read(self, block: Block) -> npt.NDArray[Any]:
        """Read the labels of a block, and see whether they are what was written."""
        try:
            labels = keep_open(self.labels, None, 0, False, self.stamp).read(block.write)
        except InputNotFoundError:
            raise
        except InputError as err:
            raise DamagedLabelsError(str(err), block=block.index) from err
        written = _evidence(self.folder, self.stamp).written(block.index)
        if written is not None and checksum(labels) != written:
            raise DamagedLabelsError(
                f"{self.labels}: they are not those that were written", block=block.index
            )
        return labels


class DamagedLabelsError(InputError):
    """The labels of a block are not those that were written."""

    def __init__(self, why: str, *, block: int) -> None:
        hint = "segmenting again makes them anew"
        super().__init__(f"its labels are damaged: {why}", block=block, hint=hint)
