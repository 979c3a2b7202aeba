"""Rows 3 to 6, 12, 13, 16: disks, folders, memory; long work."""

from __future__ import annotations

from fault_harness.matrix import Fault
from fault_harness.quick import inject_quickly, marks, quick_faults
from fault_harness.rows import PLACES

pytestmark = marks


@quick_faults(*PLACES)
def test_nothing_lost_nothing_hung_nothing_left(fault: Fault) -> None:
    inject_quickly(fault)
