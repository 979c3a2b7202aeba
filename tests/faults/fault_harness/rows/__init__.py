"""All rows of the matrix, in order."""

from __future__ import annotations

from ..matrix import Fault
from . import disk, places, processes, restarts, shortage, signals

__all__ = ["FAULTS"]

_FAMILIES = (processes, signals, disk, places, restarts, shortage)
#: Faults, as they stand in the table.
FAULTS: list[Fault] = sorted(
    (fault for family in _FAMILIES for fault in family.FAULTS),
    key=lambda fault: (fault.row, fault.name),
)
