"""Segment and measure every object in scientific images, in order, losing nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .run.extras import loaded_later

if TYPE_CHECKING:
    from .blockwise.volumes import (
        VolumeResult,
        measure_volume,
        restitch_volume,
        segment_volume,
    )
    from .read.open_volume import open_volume

#: Version of the program.
__version__ = "0.1.0"

__all__ = [
    "VolumeResult",
    "__version__",
    "measure_volume",
    "open_volume",
    "restitch_volume",
    "segment_volume",
]

# Who uses the library decides where its log goes; nothing is printed unasked.
logging.getLogger(__name__).addHandler(logging.NullHandler())

# Loaded when asked for, so that the program starts at once.
__getattr__ = loaded_later(
    __name__,
    {
        "VolumeResult": "blockwise.volumes",
        "measure_volume": "blockwise.volumes",
        "open_volume": "read.open_volume",
        "restitch_volume": "blockwise.volumes",
        "segment_volume": "blockwise.volumes",
    },
    extra="volumes",
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
