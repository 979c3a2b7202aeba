"""Worker file: give the labels of each block their final numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import worker_file
from .segment_worker import RegionWork
from .volume_blocks import RelabelPass

__all__ = ["RelabelWork", "fit", "read_write_conflict", "spawn_worker", "start_worker"]

#: Whether blocks that overlap exclude each other.
read_write_conflict = False
#: What becomes of the ends of the volume.
fit = "shrink"


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
    """

    labels: str
    output: str
    folder: str

    def __call__(self, block: Any) -> dict[str, Any]:
        """Do it; return the number of voxels that have a label."""
        work = RelabelPass(self.labels, self.output, self.folder, self.stamp)
        return work(self.block_of(block))


spawn_worker, start_worker = worker_file.worker_functions(RelabelWork)

if __name__ == "__main__":
    start_worker()
