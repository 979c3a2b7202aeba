"""Write events in order of their frames, files that refer to others, and exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..run.extras import loaded_later
from .basin_files import (
    CreatingFileWithoutBasinWarning,
    IgnoringBasinTypeWarning,
    copy_basins,
    create_with_basins,
)
from .chunk_writer import ChunkWriter
from .copying import copy_features, copy_metadata
from .event_stash import EventStash
from .packing import set_default_filter_kwargs
from .queue_writer_base import QueueWriterBase, QueueWriterThread
from .queue_writer_process import QueueWriterProcess
from .writer import HDF5Writer

if TYPE_CHECKING:
    from .event_files import export_images, export_table
    from .precomputed import write_segment_properties
    from .pyramid import export_precomputed, write_pyramid
    from .volume_creation import create_labels, create_volume

__all__ = [
    "ChunkWriter",
    "CreatingFileWithoutBasinWarning",
    "EventStash",
    "HDF5Writer",
    "IgnoringBasinTypeWarning",
    "QueueWriterBase",
    "QueueWriterProcess",
    "QueueWriterThread",
    "copy_basins",
    "copy_features",
    "copy_metadata",
    "create_labels",
    "create_volume",
    "create_with_basins",
    "export_images",
    "export_precomputed",
    "export_table",
    "set_default_filter_kwargs",
    "write_pyramid",
    "write_segment_properties",
]

# Loaded when asked for: each run, and each of its processes, pays for what it does not need.
__getattr__ = loaded_later(
    __name__,
    {
        "create_labels": "volume_creation",
        "create_volume": "volume_creation",
        "export_images": "event_files",
        "export_precomputed": "pyramid",
        "export_table": "event_files",
        "write_pyramid": "pyramid",
        "write_segment_properties": "precomputed",
    },
)
