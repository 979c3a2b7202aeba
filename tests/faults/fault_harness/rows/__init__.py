"""All rows of the matrix, in order."""

from __future__ import annotations

from ..matrix import Fault
from . import disk, processes, signals

__all__ = ["FAULTS"]

#: Faults, as they stand in the table.
FAULTS: list[Fault] = sorted(
    [*processes.FAULTS, *signals.FAULTS, *disk.FAULTS], key=lambda fault: (fault.row, fault.name)
)
