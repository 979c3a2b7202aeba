"""All rows of the matrix, in order."""

from __future__ import annotations

from ..matrix import Fault
from . import (
    blocks,
    disk,
    edges,
    fuzz,
    hostile,
    places,
    processes,
    restarts,
    shortage,
    signals,
    soak,
)

__all__ = ["FAULTS"]

_FAMILIES = (
    *(processes, signals, disk, edges, places, restarts, shortage),
    *(fuzz, hostile, blocks, soak),
)
#: Faults, as they stand in the table.
FAULTS: list[Fault] = sorted(
    (fault for family in _FAMILIES for fault in family.FAULTS),
    key=lambda fault: (fault.row, fault.name),
)
