"""All rows of the matrix, in order."""

from __future__ import annotations

from ..matrix import Fault
from . import processes, signals

__all__ = ["FAULTS"]

#: Faults, as they stand in the table.
FAULTS: list[Fault] = sorted(
    [*processes.FAULTS, *signals.FAULTS], key=lambda fault: (fault.row, fault.name)
)
