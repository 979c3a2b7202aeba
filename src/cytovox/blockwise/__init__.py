"""Volumes that do not fit in memory: the map over blocks, and how they become one again."""

from __future__ import annotations

import importlib
from typing import Any

from ..run.extras import require

__all__ = [
    "BlockFailure",
    "DaCapoBlockwiseTask",
    "SeamReport",
    "run_blockwise",
    "segment_blockwise",
]

_HOMES = {
    "BlockFailure": "block_result",
    "SeamReport": "lookup",
    "DaCapoBlockwiseTask": "blockwise_task",
    "run_blockwise": "blockwise_task",
    "segment_blockwise": "segment_region",
}


def __getattr__(name: str) -> Any:
    # Daisy is loaded when it is needed, since most of what is here needs none.
    if name in _HOMES:
        require("volumes", "volumes")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
