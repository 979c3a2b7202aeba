"""The conveyor: from a job to a finished file."""

from .chunk_slot import ChunkSlot
from .ctrl import DCNumJobRunner
from .job import DCNumPipelineJob
from .json_encoder import ExtendedJSONEncoder
from .slot_register import SlotRegister
from .universal_worker import UniversalWorkerProcess, UniversalWorkerThread

__all__ = [
    "ChunkSlot",
    "DCNumJobRunner",
    "DCNumPipelineJob",
    "ExtendedJSONEncoder",
    "SlotRegister",
    "UniversalWorkerProcess",
    "UniversalWorkerThread",
]
