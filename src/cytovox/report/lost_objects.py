"""Objects that a run has lost, found again in some frames of its recording."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputError
from ..logic.fates import Analysis, analyse, verdict
from ..logic.frame_source import FrameSource, spread_frames
from ..logic.origin import find_origin
from ..logic.recipes import job_of_result
from ..logic.record import read_record
from ..read import HDF5Data, RefusedInputError
from ..run.fingerprint import FileStamp
from ..run.rows import CAUSES

__all__ = ["LostObject", "LostObjects", "find_lost"]

#: Frames that are looked at, and how many at once.
_FRAMES, _BATCH = 240, 40
#: Most objects of one cause that are kept to choose from.
_KEPT = 20
#: Pixels around the box of an object.
_MARGIN = 8


@dataclass(frozen=True, slots=True, eq=False)
class LostObject:
    """An object that was lost, cut out of its frame."""

    cause: str
    frame: int  # in the recording, from 0
    size: int  # pixels as segmented
    verdict: str  # with the number that decided
    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class LostObjects:
    """Objects that were lost, in the order of causes."""

    objects: list[LostObject] = field(default_factory=list)
    #: How many frames were looked at, and what was lost in them by cause.
    frames: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    #: Why they cannot be shown.
    problem: str | None = None

    def choose(self, number: int) -> list[LostObject]:
        """Return so many objects: the largest of each cause, as many of each as find room."""
        by_cause = {c: [one for one in self.objects if one.cause == c] for c in CAUSES}
        room: Counter[str] = Counter()
        while sum(room.values()) < number:
            open_ = [cause for cause in CAUSES if room[cause] < len(by_cause[cause])]
            if not open_:
                break
            room.update(open_[: number - sum(room.values())])
        return [one for cause in CAUSES for one in by_cause[cause][: room[cause]]]

    def keep(self, found: list[LostObject]) -> None:
        """Take more objects; the largest of each cause are kept."""
        self.objects = sorted([*self.objects, *found], key=lambda one: -one.size)
        rank: Counter[str] = Counter()
        for one in list(self.objects):
            rank[one.cause] += 1
            if rank[one.cause] > _KEPT:
                self.objects.remove(one)


def find_lost(data: HDF5Data) -> LostObjects:
    """Look for objects that were lost in frames spread over the recording of a result."""
    found = LostObjects()
    try:
        recording = find_origin(data)
        _require_unchanged(data, recording)
        with FrameSource(job_of_result(data, recording)) as source:
            _look(source, found)
    except RefusedInputError as err:
        found.problem = f"{err.what}; --basin-root allows another folder"
    except CytovoxError as err:
        found.problem = err.what
    except OSError as err:
        found.problem = str(err)
    if found.problem is not None:
        found.objects.clear()
    return found


def _require_unchanged(data: HDF5Data, recording: Path) -> None:
    """Raise an error if the recording is not as the run has read it, as far as that is known."""
    read = read_record(data).get("read")
    files = read.get("files") if isinstance(read, dict) else None
    if isinstance(files, list) and files and isinstance(files[0], dict):
        now = FileStamp.of(recording)
        if (now.size, now.content) != (files[0].get("size"), files[0].get("content")):
            raise InputError(f"the recording {recording} has changed since")


def _look(source: FrameSource, found: LostObjects) -> None:
    chosen = source.chosen()
    numbers = chosen[spread_frames(len(chosen), _FRAMES)]
    found.frames = len(numbers)
    for start in range(0, len(numbers), _BATCH):
        analysis = analyse(source.read(numbers[start : start + _BATCH]), source.job, source.data)
        objects = analysis.objects
        for number, cause in enumerate(CAUSES):
            lost = np.flatnonzero(objects.cause == number)
            if not lost.size:
                continue
            found.counts[cause] += len(lost)
            largest = lost[np.argsort(-objects.raw_size[lost], kind="stable")][:_KEPT]
            found.keep([_cut(analysis, index, cause) for index in largest.tolist()])


def _cut(analysis: Analysis, index: int, cause: str) -> LostObject:
    objects = analysis.objects
    row = int(objects.frame[index])
    label, raw = int(objects.label[index]), int(objects.raw_label[index])
    mask = analysis.labels[row] == label if label else analysis.raw_labels[row] == raw
    top, bottom, left, right = objects.box[index].tolist()
    box = (slice(max(top - _MARGIN, 0), bottom + _MARGIN),
           slice(max(left - _MARGIN, 0), right + _MARGIN))  # fmt: skip
    image = analysis.frames.image[row]
    number = int(analysis.frames.numbers[row])
    size, why = int(objects.raw_size[index]), verdict(analysis, index)
    return LostObject(cause, number, size, why, image[box].copy(), mask[box].copy())
