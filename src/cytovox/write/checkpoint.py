"""Where the writing of events stands, so that it can be gone on with."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..run.rows import CAUSES
from .resumable_file import ResumableFile

__all__ = ["Checkpoint", "Checkpoints"]

_HEAD = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What is written, and what belongs to it but waits for a whole chunk.

    Parameters
    ----------
    frames, events
        Number of frames that are done, and of their events.
    objects
        What became of the objects of these frames: the sum of
        `FrameRows.objects`.
    rests
        Rows by feature that follow those in the file, shape (n, ...).
    is_complete
        Whether the file is finished altogether.
    """

    frames: int
    events: int
    objects: tuple[int, ...] = (0,) * (1 + len(CAUSES))
    rests: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    is_complete: bool = False

    def encode(self) -> bytes:
        """Return it as bytes."""
        described = [[name, rest.dtype.str, rest.shape] for name, rest in self.rests.items()]
        told = {
            "frames": self.frames,
            "events": self.events,
            "objects": self.objects,
            "complete": self.is_complete,
            "rests": described,
        }
        head = json.dumps(told).encode()
        rows = [np.ascontiguousarray(rest).tobytes() for rest in self.rests.values()]
        return b"".join([_HEAD.pack(len(head)), head, *rows])

    @classmethod
    def decode(cls, content: bytes) -> Checkpoint:
        """Return what `encode` has told."""
        try:
            (length,) = _HEAD.unpack_from(content)
            place = _HEAD.size + length
            told = json.loads(content[_HEAD.size : place])
            rests = {}
            for name, kind, shape in told["rests"]:
                dtype, count = np.dtype(kind), int(np.prod(shape, dtype=np.int64))
                rows = np.frombuffer(content, dtype, count, place)
                rests[str(name)] = rows.reshape(shape)
                place += rows.nbytes
            objects = tuple(int(number) for number in told["objects"])
            complete = bool(told["complete"])
            return cls(int(told["frames"]), int(told["events"]), objects, rests, complete)
        except (KeyError, TypeError, struct.error) as err:
            raise ValueError("this is no checkpoint") from err


class Checkpoints:
    """When to make checkpoints, and where they go."""

    def __init__(
        self,
        file: ResumableFile,
        *,
        seconds: float,
        durable_seconds: float,
        begin: Checkpoint | None = None,
        on_durable: Callable[[Checkpoint], None] | None = None,
    ) -> None:
        self.file = file
        self.begin = begin or Checkpoint(0, 0)
        self.seconds = seconds
        self.durable_seconds = durable_seconds
        self._on_durable = on_durable
        self._last = self._last_durable = time.monotonic()

    def is_due(self, *, is_last: bool = False) -> bool:
        """Return whether it is time for one."""
        if is_last:
            return time.monotonic() - self._last_durable >= self.durable_seconds
        return time.monotonic() - self._last >= self.seconds

    def make(self, checkpoint: Checkpoint, *, is_last: bool = False) -> None:
        """Make one, of a file that has been flushed."""
        begin = time.monotonic()
        durable = is_last or begin - self._last_durable >= self.durable_seconds
        self.file.checkpoint(checkpoint.encode(), durable=durable)
        # What it took does not count, or a slow disk would do nothing else.
        self._last = time.monotonic()
        if durable:
            self._last_durable = self._last
            if self._on_durable is not None:
                self._on_durable(checkpoint)
