"""Worker file: give the labels of each block their final numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import worker_file
from .lookup import Lookup, load_lookup
from .segment_worker import RegionWork
from .stitch import relabel_block

__all__ = ["RelabelWork", "fit", "read_write_conflict", "spawn_worker", "start_worker"]

#: Whether blocks that overlap exclude each other.
read_write_conflict = False
#: What becomes of the ends of the volume.
fit = "shrink"


@functools.lru_cache(maxsize=1)
def _table(folder: str, stamp: str) -> Lookup:
    return load_lookup(folder)


@dataclass(frozen=True, kw_only=True)
class RelabelWork(RegionWork):
    """Look the labels of a block up; no worker holds the whole table.

    Parameters
    ----------
    labels
        Volume with the labels of the blocks.
    output
        Volume that takes the final ones.
    folder
        Folder of the table.
    stamp
        Tells tables of one folder apart.
    """

    labels: str
    output: str
    folder: str
    stamp: str = ""

    def __call__(self, block: Any) -> dict[str, Any]:
        """Do it; return the number of voxels that have a label."""
        ours = self.block_of(block)
        labels = worker_file.opened(self.labels).read(ours.write)
        final = relabel_block(labels, _table(self.folder, self.stamp).slice(ours.index))
        worker_file.opened(self.output, 0, True).write(ours.write, final)
        return {"voxels": int(np.count_nonzero(final))}


def spawn_worker(**options: Any) -> Callable[[], None]:
    """Return the loop of a worker; options are those of `RelabelWork`."""
    return worker_file.spawn(RelabelWork, **options)


def start_worker(arguments: Sequence[str] | None = None) -> None:
    """Be a worker that was started by a command.

    Parameters
    ----------
    arguments
        What stands behind the command; that of this process if None.
    """
    worker_file.start(RelabelWork, arguments)


if __name__ == "__main__":
    start_worker()
