"""Every row of the fault matrix, as often as a test run can afford.

The rows are divided among files of tests, which run side by side.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from .matrix import Fault, inject

__all__ = ["inject_quickly", "marks", "quick_faults"]

marks = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched by Linux's /proc"),
    # A row runs many programs, each with a limit of its own; this only ends a row that hangs.
    pytest.mark.timeout(3000),
]


def quick_faults(*families: ModuleType) -> Callable[..., Any]:
    """Let a test run for each fault of some families that each test run injects."""
    faults = [fault for family in families for fault in family.FAULTS if fault.quick]
    faults.sort(key=lambda fault: fault.key)
    return pytest.mark.parametrize("fault", faults, ids=lambda fault: fault.key)


def inject_quickly(fault: Fault) -> None:
    """Inject a fault as often as in each test run; all must end as promised."""
    report = inject(fault, range(fault.quick), seed=1)
    assert report.injected == fault.quick
    again = "\n".join(
        f"python tests/faults/run_faults.py --dry --repeat {fault.row}:{failure.number}\n"
        f"{failure.text}"
        for failure in report.failures
    )
    assert not report.failures, again
