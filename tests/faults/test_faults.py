"""Every row of the fault matrix, as often as a test run can afford."""

from __future__ import annotations

import sys

import pytest
from fault_harness.matrix import Fault, inject
from fault_harness.rows import FAULTS

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched by Linux's /proc"),
    # A row runs many programs, each with a limit of its own; this only ends a row that hangs.
    pytest.mark.timeout(3000),
]


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.quick], ids=lambda fault: fault.key
)
def test_nothing_lost_nothing_hung_nothing_left(fault: Fault) -> None:
    report = inject(fault, range(fault.quick), seed=1)
    assert report.injected == fault.quick
    again = "\n".join(
        f"python tests/faults/run_faults.py --dry --repeat {fault.row}:{failure.number}\n"
        f"{failure.text}"
        for failure in report.failures
    )
    assert not report.failures, again
