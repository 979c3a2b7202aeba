"""Volumes that do not fit in memory: the map over blocks, and how they become one again."""

from __future__ import annotations

from ..run.extras import loaded_later

__all__ = [
    "BlockFailure",
    "DaCapoBlockwiseTask",
    "SeamReport",
    "run_blockwise",
    "segment_blockwise",
]

# Daisy is loaded when it is needed, since most of what is here needs none.
__getattr__ = loaded_later(
    __name__,
    {
        "BlockFailure": "block_result",
        "SeamReport": "lookup",
        "DaCapoBlockwiseTask": "blockwise_task",
        "run_blockwise": "blockwise_task",
        "segment_blockwise": "segment_region",
    },
    extra="volumes",
)
