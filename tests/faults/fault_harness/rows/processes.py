"""Rows 1 and 2: processes that are killed."""

from __future__ import annotations

from ..matrix import Fault

__all__ = ["FAULTS"]

FAULTS: list[Fault] = []
