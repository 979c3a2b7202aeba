"""Rows 8 to 10: files that were changed, made to harm, or are at the edge."""

from __future__ import annotations

from fault_harness.matrix import Fault
from fault_harness.quick import inject_quickly, marks, quick_faults
from fault_harness.rows import FILES

pytestmark = marks


@quick_faults(*FILES)
def test_nothing_lost_nothing_hung_nothing_left(fault: Fault) -> None:
    inject_quickly(fault)
