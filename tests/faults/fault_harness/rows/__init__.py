"""All rows of the matrix, in order."""

from __future__ import annotations

from ..matrix import Fault
from . import (
    blocks,
    disk,
    edges,
    fuzz,
    hostile,
    live,
    places,
    processes,
    restarts,
    shortage,
    signals,
    soak,
)

__all__ = ["FAULTS", "FILES", "PLACES", "PROCESSES"]

#: Who works is killed or told to stop, or many work at once.
PROCESSES = (blocks, live, processes, restarts, signals)
#: Disks, folders, memory; long work.
PLACES = (disk, places, shortage, soak)
#: Files that were changed, made to harm, or are at the edge.
FILES = (edges, fuzz, hostile)
#: Faults, as they stand in the table.
FAULTS: list[Fault] = sorted(
    (fault for family in (*PROCESSES, *PLACES, *FILES) for fault in family.FAULTS),
    key=lambda fault: (fault.row, fault.name),
)
