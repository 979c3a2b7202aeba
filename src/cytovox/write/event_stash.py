"""Sort events of some frames into arrays, whatever the order of arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StageError
from ..run.rows import FrameRows

__all__ = ["EventStash", "check_lengths", "rows_of_frame"]


class EventStash:
    """Arrays with a place for each event of some consecutive frames.

    Parameters
    ----------
    index_offset
        Index of the first frame in the recording.
    feat_nevents
        Number of events of each frame.

    Attributes
    ----------
    events : dict of ndarray
        Arrays of length `size` by feature.
    nev_idx : ndarray of int64
        Cumulative sum of `feat_nevents`.
    size : int
        Number of events.
    num_frames : int
        Number of frames.
    indices_for_data : ndarray of uint32
        Frame of each event.

    Examples
    --------
    >>> stash = EventStash(index_offset=4, feat_nevents=[1, 0, 2])
    >>> stash.add_events(6, {"deform": np.array([0.2, 0.3])})
    >>> stash.add_events(5, None)
    >>> stash.is_complete()
    False
    >>> stash.add_events(4, {"deform": np.array([0.1])})
    >>> stash.events["deform"], stash.indices_for_data, stash.is_complete()
    (array([0.1, 0.2, 0.3]), array([4, 6, 6], dtype=uint32), True)
    """

    def __init__(self, index_offset: int, feat_nevents: Sequence[int]) -> None:
        counts = np.asarray(feat_nevents, dtype=np.int64)
        if counts.size and counts.min() < 0:
            raise StageError("write", "the number of events of a frame is negative")
        self.events: dict[str, npt.NDArray[Any]] = {}
        self.feat_nevents = feat_nevents
        self.nev_idx = np.cumsum(counts)
        self.size = int(counts.sum())
        self.num_frames = len(counts)
        self.index_offset = int(index_offset)
        frames = np.arange(index_offset, index_offset + self.num_frames, dtype=np.uint32)
        self.indices_for_data = np.repeat(frames, counts)
        self._counts = counts
        self._tracker = np.zeros(self.num_frames, dtype=bool)
        self._arrived = 0

    def is_complete(self) -> bool:
        """Return whether all frames have come."""
        return bool(self._tracker.all())

    def require_feature(self, feat: str, sample_data: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the array of a feature; make it to fit some events if need be.

        Parameters
        ----------
        feat
            Name of the feature.
        sample_data
            Values of some events, shape (n, ...).

        Returns
        -------
        numpy.ndarray
            Array of shape (size, ...); its type can hold those of all events.
        """
        if feat not in self.events:
            shape = (self.size, *sample_data.shape[1:])
            self.events[feat] = np.zeros(shape, dtype=sample_data.dtype)
        elif not np.can_cast(sample_data.dtype, self.events[feat].dtype, "safe"):
            wider = np.result_type(sample_data.dtype, self.events[feat].dtype)
            self.events[feat] = self.events[feat].astype(wider)
        return self.events[feat]

    def add_events(self, index: int, events: Mapping[str, npt.NDArray[Any]] | None) -> None:
        """Put the events of a frame into their place.

        Parameters
        ----------
        index
            Index of the frame in the recording.
        events
            Arrays of shape (n, ...) by feature; None if there are no events.

        Raises
        ------
        StageError
            If the frame does not belong here or has come already, or if the
            number of its events is not what was announced.
        """
        own = {feat: np.array(data) for feat, data in (events or {}).items()}
        came = rows_of_frame(index, own)
        self.add_rows(came.start, came.counts, came.rows)

    def add_rows(
        self, start: int, counts: npt.NDArray[np.int64], rows: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Put the events of consecutive frames into their place.

        Parameters
        ----------
        start
            Index of the first frame in the recording.
        counts
            Number of events of each frame, shape (n_frames,).
        rows
            Arrays of shape (n_events, ...) by feature, in order of frame. They
            must not be changed afterwards: those that are all events there are
            become `events`, without a copy.

        Raises
        ------
        StageError
            If a frame does not belong here or has come already, or if the
            number of its events is not what was announced.
        """
        first = int(start) - self.index_offset
        last = first + len(counts)
        self._check_frames(int(start), first, last, np.asarray(counts))
        begin = int(self.nev_idx[first - 1]) if first else 0
        end = int(self.nev_idx[last - 1]) if last else 0
        if end > begin:
            check_lengths(int(start), end - begin, rows)
            self._check_features(int(start), rows)
            for feat, data in rows.items():
                if end - begin == self.size:
                    self.events[feat] = data
                else:
                    self.require_feature(feat, data)[begin:end] = data
            self._arrived += end - begin
        self._tracker[first:last] = True

    def _check_frames(
        self, start: int, first: int, last: int, counts: npt.NDArray[np.int64]
    ) -> None:
        if first < 0 or last > self.num_frames:
            raise StageError(
                "write",
                f"frames {start} to {start + len(counts) - 1} do not belong to frames "
                f"{self.index_offset} to {self.index_offset + self.num_frames - 1}",
                frame=start,
            )
        if self._tracker[first:last].any():
            raise StageError("write", "the events of a frame came twice", frame=start)
        wrong = np.flatnonzero(counts != self._counts[first:last])
        if wrong.size:
            frame = int(wrong[0])
            raise StageError(
                "write",
                f"{counts[frame]} events came, but {self._counts[first + frame]} were announced",
                frame=start + frame,
            )

    def _check_features(self, start: int, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        for feat, data in rows.items():
            kept = self.events.get(feat)
            if kept is not None and kept.shape[1:] != data.shape[1:]:
                raise StageError(
                    "write",
                    f"'{feat}' has items of shape {data.shape[1:]} after {kept.shape[1:]}",
                    frame=start,
                )
        for missing in sorted(set(self.events) - set(rows)):
            raise StageError("write", f"events came without '{missing}'", frame=start)
        for surplus in sorted(set(rows) - set(self.events)) if self._arrived else ():
            raise StageError("write", f"events without '{surplus}' came before", frame=start)


def rows_of_frame(frame: int, events: Mapping[str, npt.ArrayLike] | None) -> FrameRows:
    """Return the events of one frame as rows."""
    rows = {feat: np.asarray(data) for feat, data in (events or {}).items()}
    number = max((len(data) for data in rows.values() if data.ndim), default=0)
    return FrameRows(int(frame), np.array([number], dtype=np.int64), rows)


def check_lengths(start: int, number: int, rows: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raise an error if a feature does not have one value for each event."""
    for feat, data in rows.items():
        found = len(data) if data.ndim else 0
        if data.ndim == 0 or found != number:
            raise StageError(
                "write", f"'{feat}' has {found} values for {number} events", frame=start
            )
