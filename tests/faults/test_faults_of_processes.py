"""Rows 1, 2, 7, 11, 14, 15, 17: who works is killed or told to stop, or many work at once."""

from __future__ import annotations

from fault_harness.matrix import Fault
from fault_harness.quick import inject_quickly, marks, quick_faults
from fault_harness.rows import PROCESSES

pytestmark = marks


@quick_faults(*PROCESSES)
def test_nothing_lost_nothing_hung_nothing_left(fault: Fault) -> None:
    inject_quickly(fault)
