"""Rows: what some frames yielded, one equally long array per feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FrameRows", "joined_rows"]


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
    dropped
        How many objects had to be dropped because they have no area.

    Examples
    --------
    >>> import numpy as np
    >>> rows = FrameRows(10, np.array([0, 2, 1]), {"deform": np.array([0.1, 0.2, 0.3])})
    >>> rows.stop, rows.n_events, rows.frames.tolist()
    (13, 3, [11, 11, 12])
    """

    start: int
    counts: npt.NDArray[np.int64]
    rows: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    dropped: int = 0

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


def joined_rows(parts: Sequence[FrameRows]) -> FrameRows:
    """Return the rows of consecutive parts as one.

    Parameters
    ----------
    parts
        Rows, each beginning with the frame after the last of the one before.

    Examples
    --------
    >>> one = FrameRows(4, np.array([2]), {"deform": np.array([0.1, 0.2])}, dropped=1)
    >>> two = FrameRows(5, np.array([0, 0]))
    >>> both = joined_rows([one, two])
    >>> both.start, both.counts.tolist(), both.rows["deform"].tolist(), both.dropped
    (4, [2, 0, 0], [0.1, 0.2], 1)
    """
    filled = [part.rows for part in parts if part.n_events]
    names = filled[0] if filled else parts[0].rows
    return FrameRows(
        parts[0].start,
        np.concatenate([part.counts for part in parts]),
        {
            name: np.concatenate([rows[name] for rows in filled or [parts[0].rows]])
            for name in names
        },
        sum(part.dropped for part in parts),
    )
