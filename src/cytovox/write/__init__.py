"""Write events in order of their frames, files that refer to others, and exports."""

from .basin_files import (
    CreatingFileWithoutBasinWarning,
    IgnoringBasinTypeWarning,
    copy_basins,
    create_with_basins,
)
from .chunk_writer import ChunkWriter
from .copying import copy_features, copy_metadata
from .event_files import export_images, export_table
from .event_stash import EventStash
from .packing import set_default_filter_kwargs
from .precomputed import write_segment_properties
from .pyramid import export_precomputed, write_pyramid
from .queue_writer_base import QueueWriterBase, QueueWriterThread
from .queue_writer_process import QueueWriterProcess
from .volume_creation import create_labels, create_volume
from .writer import HDF5Writer

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
