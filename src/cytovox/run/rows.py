"""Rows: what some frames yielded, one equally long array per feature; and their queue."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CAUSES", "ByteQueue", "FrameRows", "joined_rows", "no_objects", "objects_by_cause"]

#: Why an object that was found is not an event, in the order in which it is tried.
CAUSES = ("border", "merged", "opening", "size", "gate", "contour", "repeated")


@dataclass(frozen=True, slots=True, eq=False)
class FrameRows:
    """The events of consecutive frames, in order of frame, then label.

    Rows arrive in any order and leave in the order of their frames.

    Parameters
    ----------
    start
        Index of the first frame in the recording.
    counts
        Number of events of each frame, int64 of shape (n_frames,).
    rows
        Columns by name of the feature, each as long as the sum of `counts`:
        scalar features as float64 of shape (n_events,), ``nevents`` as int64
        of shape (n_events,), ``mask`` as uint8 0/255 of shape (n_events, H, W).
    objects
        How many objects were found in each frame, and how many of them were
        lost for each of the `CAUSES`, int64 of shape (n_frames, 8). If None,
        each event was an object, and none was lost.
    """

    start: int
    counts: npt.NDArray[np.int64]
    rows: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    objects: npt.NDArray[np.int64] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.objects is None:
            objects = no_objects(len(self.counts))
            objects[:, 0] = self.counts
            object.__setattr__(self, "objects", objects)

    @property
    def dropped(self) -> int:
        """Number of objects that had to be dropped because they have no area."""
        return int(self.objects[:, 1 + CAUSES.index("contour")].sum())

    @property
    def stop(self) -> int:
        """Index after the last frame."""
        return self.start + len(self.counts)

    @property
    def n_events(self) -> int:
        """Number of events of all frames."""
        return int(self.counts.sum())

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """Index of the frame of each event, int64 of shape (n_events,)."""
        return np.repeat(np.arange(self.start, self.stop, dtype=np.int64), self.counts)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(column.nbytes for column in self.rows.values())


def no_objects(number: int) -> npt.NDArray[np.int64]:
    """Return `FrameRows.objects` for frames without any."""
    return np.zeros((number, 1 + len(CAUSES)), np.int64)


def objects_by_cause(objects: npt.ArrayLike) -> dict[str, Any]:
    """Return what became of objects as plain values; what is kept and lost adds up."""
    found, *lost = (int(number) for number in np.asarray(objects))
    return {
        "found": found,
        "kept": found - sum(lost),
        "lost": dict(zip(CAUSES, lost, strict=True)),
    }


def joined_rows(parts: Sequence[FrameRows]) -> FrameRows:
    """Return the rows of consecutive parts as one."""
    filled = [part.rows for part in parts if part.n_events]
    names = filled[0] if filled else parts[0].rows
    if len(parts) == 1:
        return parts[0]
    return FrameRows(
        parts[0].start,
        np.concatenate([part.counts for part in parts]),
        {
            # with its type, of which the order of bytes would be lost
            name: np.concatenate([rows[name] for rows in filled], dtype=filled[0][name].dtype)
            if filled
            else parts[0].rows[name]
            for name in names
        },
        np.concatenate([part.objects for part in parts]),
    )


class ByteQueue(queue.Queue[Any]):
    """A queue between threads that is full when what waits is too large.

    An item weighs as many bytes as its ``nbytes`` says, and one at least. One
    item always finds room in an empty queue, however large it is, so at most
    one item more than `most_bytes` waits.
    """

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes)

    def _init(self, maxsize: int) -> None:
        self.queue: deque[Any] = deque()
        self._bytes = 0

    def _qsize(self) -> int:
        return self._bytes

    def _put(self, item: Any) -> None:
        self.queue.append(item)
        self._bytes += _weight(item)

    def _get(self) -> Any:
        item = self.queue.popleft()
        self._bytes -= _weight(item)
        return item


def _weight(item: Any) -> int:
    return max(1, int(getattr(item, "nbytes", 1)))
